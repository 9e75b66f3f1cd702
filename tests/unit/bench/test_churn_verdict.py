"""What judges the operator's random lives must see each kind of fault, or it proves nothing."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

from churn_sequences import Life, life, merged
from churn_verdict import Ending, verdict
from fastserve.api.identity import APPLIED_ANNOTATION
from fastserve.api.objects import CONFIG_MAP, CONTROLLER_REVISION, DEPLOYMENT, MODEL_POOL, SERVICE, Kind
from fastserve.planning.objects.decision import Apply, ObjectPlan

LIFE = Life(1, "p1", (), (), {(MODEL_POOL, "p1"): {}})
Named = tuple[Kind, str]


def thing(kind: Kind, name: str, **more: Any) -> tuple[Named, dict[str, Any]]:
    metadata = {
        "name": name,
        "namespace": "spared",
        "uid": f"uid-of-{name}",
        "generation": 1,
        "ownerReferences": [{"kind": "ModelPool", "name": "p1", "uid": "uid-of-p1"}],
        "annotations": {APPLIED_ANNOTATION: "differs with the owner's uid"},
    }
    return (kind, name), {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **more}


def ending(namespace: str = "faulted") -> Ending:
    pool = thing(MODEL_POOL, "p1", status={"observedGeneration": 1})
    stranger = thing(CONFIG_MAP, "p1-mine", data={"of": "somebody"})
    children: Mapping[Named, dict[str, Any]] = dict(
        (
            thing(SERVICE, "p1", spec={"selector": {"of": "p1"}, "clusterIP": f"drawn in {namespace}"}),
            thing(DEPLOYMENT, "p1-p-standby-1", spec={"replicas": 1, "domain": f"p1.{namespace}.svc"}),
            thing(CONTROLLER_REVISION, "p1-p-standby-1", revision=2),
            stranger,
        )
    )
    found = deepcopy(Ending(children, dict((pool,)), dict((stranger,)), ObjectPlan()))
    for one in found.children.values():
        one["metadata"]["namespace"] = namespace
    return found


def judged(seen: Ending) -> Any:
    return verdict(LIFE, seen, ending("spared"), dict(ending().strangers))


def test_the_same_end_is_well_whatever_the_namespace_the_drawn_and_the_way_were() -> None:
    seen = ending()
    seen.children[CONTROLLER_REVISION, "p1-p-standby-1"]["revision"] = 5
    kept = deepcopy(seen.children[CONTROLLER_REVISION, "p1-p-standby-1"])
    more = {**seen.children, (CONTROLLER_REVISION, "p1-p-standby-0"): kept}
    assert judged(replace(seen, children=more)).converged


def test_a_child_that_differs_or_is_still_to_be_written_is_not_converged() -> None:
    seen = ending()
    seen.children[DEPLOYMENT, "p1-p-standby-1"]["spec"]["replicas"] = 2
    assert judged(seen).different == ("Deployment/p1-p-standby-1 differs",)
    waiting = Apply(SERVICE, ending().children[SERVICE, "p1"], True, "it is not there")
    assert judged(replace(ending(), plan=ObjectPlan(apply=(waiting,)))).different
    taken = Apply(CONFIG_MAP, ending().children[CONFIG_MAP, "p1-mine"], True, "it is not there")
    assert judged(replace(ending(), plan=ObjectPlan(apply=(taken,)))).converged, "that name is a stranger's"


def test_a_status_of_an_older_generation_is_not_converged() -> None:
    seen = ending()
    seen.owners[MODEL_POOL, "p1"]["metadata"]["generation"] = 2
    assert judged(seen).untold == ("ModelPool/p1 tells of 1, is at 2",)


def test_what_nobody_wants_or_nobody_owns_has_leaked() -> None:
    seen = ending()
    named, more = thing(SERVICE, "p1-old-m")
    assert judged(replace(seen, children={**seen.children, named: more})).leaked == ("Service/p1-old-m",)
    seen.children[SERVICE, "p1"]["metadata"]["ownerReferences"][0]["uid"] = "of a former life"
    assert judged(seen).leaked == ("Service/p1",)


def test_what_is_missing_was_wrongly_deleted_be_it_a_child_a_users_or_a_strangers() -> None:
    seen = ending()
    fewer = {named: one for named, one in seen.children.items() if named != (SERVICE, "p1")}
    assert judged(replace(seen, children=fewer)).deleted == ("Service/p1",)
    assert judged(replace(seen, owners={})).deleted == ("ModelPool/p1",)
    gone = replace(seen, strangers={(CONFIG_MAP, "p1-mine"): None})
    assert judged(gone).deleted == ("ConfigMap/p1-mine of somebody else",)
    again = deepcopy(seen)
    stranger = again.strangers[CONFIG_MAP, "p1-mine"]
    assert stranger is not None
    stranger["metadata"]["uid"] = "another"
    assert judged(again).deleted == ("ConfigMap/p1-mine of somebody else",)


def test_a_seed_always_gives_the_same_life_and_seeds_differ() -> None:
    assert life(7) == life(7)
    assert len({str(life(seed).steps) for seed in range(50)}) == 50


def test_the_end_of_a_life_is_what_its_steps_come_to() -> None:
    for seed in range(200):
        there: dict[Named, dict[str, Any]] = {}
        for step in life(seed).steps:
            named = (step.kind, step.name)
            if step.verb == "create":
                assert named not in there
                there[named] = step.body
            elif step.verb == "edit":
                there[named] = merged(there[named], step.body)
            elif step.verb == "delete":
                del there[named]
        assert there == life(seed).end
