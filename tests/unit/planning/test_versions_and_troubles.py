"""What the status says where versions are exchanged and something else happens."""

import json

from fastserve.api.identity import APPLIED_ANNOTATION
from fastserve.api.objects import CONFIG_MAP, DEPLOYMENT
from fastserve.planning.objects.decision import WriteFailure
from swapping_cluster import exchanging, serving

TEMPLATE = WriteFailure(DEPLOYMENT, "sport", "Invalid", "spec.template.spec.containers: is wrong", "sport")


def test_what_is_stalled_is_not_reconciling_too() -> None:
    cluster = exchanging()
    cluster.failures = (TEMPLATE,)
    cluster.pass_time(2)
    said = cluster.statuses()["sport"]
    assert said["Stalled"] == "True InvalidPodTemplate"
    assert "Reconciling" not in said
    assert said["Progressing"] == "False InvalidPodTemplate"


def test_of_a_rejected_pool_no_exchange_is_under_way() -> None:
    cluster = exchanging()
    assert cluster.pool is not None
    cluster.pool["spec"]["selection"] = {"fallback": {"type": "SubModel", "subModel": "nobody"}}
    cluster.pool["metadata"]["generation"] += 1
    cluster.pass_time(2)
    said = cluster.statuses()["sport"]
    assert said["Ready"] == "False PoolRejected"
    assert "Reconciling" not in said
    assert said["Progressing"] == "False PoolRejected"
    cluster.pass_time(1)
    assert cluster.wait() is None


def test_scaled_to_zero_and_back_the_exchange_goes_on() -> None:
    cluster = exchanging(replicas=2)
    cluster.sub_models["sport"]["spec"]["replicas"] = 0
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(20)
    written = len(cluster.writes)
    cluster.pass_time(700)
    assert len(cluster.writes) == written
    assert cluster.wait() is None
    cluster.slow = frozenset()
    cluster.sub_models["sport"]["spec"]["replicas"] = 2
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(40)
    assert cluster.status("sport")["activeVersion"] == "v2"
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"
    assert cluster.member.refused == ()


def test_suspended_in_an_exchange_nothing_is_reconciling() -> None:
    cluster = exchanging()
    cluster.sub_models["sport"]["spec"]["suspend"] = True
    cluster.sub_models["sport"]["metadata"]["generation"] += 1
    cluster.pass_time(20)
    said = cluster.statuses()["sport"]
    assert said["Ready"] == "False Suspended"
    assert "Reconciling" not in said
    assert cluster.wait() is None


def older(text: str) -> str:
    """The table as the FastServe before wrote it."""
    table = json.loads(text)
    for name in ("tenants", "resilience", "access"):
        del table[name]
    del table["limits"]["maxConnections"]
    for member in table["members"]:
        for name in ("rollout", "proved", "refused", "generation", "asked"):
            del member[name]
    return json.dumps(table)


def test_a_table_of_an_older_fastserve_is_written_anew_once() -> None:
    cluster = serving(replicas=2)
    live = cluster.children[(CONFIG_MAP, "news-p-routes")]
    live["metadata"]["annotations"] = {APPLIED_ANNOTATION: "of another document"}
    now, live["data"]["routes.json"] = live["data"]["routes.json"], older(live["data"]["routes.json"])
    cluster.settle()
    assert cluster.children[(CONFIG_MAP, "news-p-routes")]["data"]["routes.json"] == now


def test_a_version_that_overtakes_another_is_told_as_started() -> None:
    cluster = serving(replicas=4).ask("v2").pass_time(4).ask("v3").pass_time(30)
    assert cluster.status("sport")["activeVersion"] == "v3"
    told = [one for one in cluster.told if one.startswith("HotSwap")]
    assert told == ["HotSwapStarted", "HotSwapReturning", "HotSwapStarted", "HotSwapPromoted"]


def test_a_version_that_overtakes_another_with_new_pods_aborts_nothing() -> None:
    cluster = exchanging()
    cluster.ask("v3").sub_models["sport"]["spec"]["podTemplate"] = {"labels": {"team": "red"}}
    cluster.pass_time(10)
    assert cluster.status("sport")["activeVersion"] == "v3"
    assert "HotSwapAborted" not in cluster.told


def test_another_task_makes_the_old_version_useless_and_waits_for_no_exchange() -> None:
    cluster = serving(replicas=3)
    assert cluster.pool is not None
    cluster.pool["spec"] |= {"task": "Embedding", "combination": {"method": "WeightedMean"}}
    cluster.pool["metadata"]["generation"] += 1
    cluster.pass_time(1)
    assert cluster.table.task == "Embedding"
    assert cluster.member.rollout is None
    cluster.pass_time(5)
    assert cluster.statuses()["sport"]["Ready"] == "True InferenceAnswered"
