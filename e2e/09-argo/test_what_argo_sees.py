"""Three pools: one that comes to answer, one that finds no GPU, one whose checkpoint is cut off."""

import json
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from argo_health import HEALTH, Health, health_of
from harness.example import load_models, member
from harness.kubectl import Kubectl, Manifest
from harness.neutral import neutral
from harness.trace import parts, pods
from harness.waiting import eventually

pytestmark = pytest.mark.timeout(900)

KINDS = ("ModelPool", "SubModel")
ARGO = "--field-manager=argocd-controller"
SPORT = member("sport", examples=["the cup final", "a striker scored twice"])
BIG = member("large", poolRef={"name": "big"}, gpu={}, parallelism={"tensor": 8})
BROKEN = member("broken", poolRef={"name": "broken"}, model={"storageUri": "pvc://models/science"})
POOLS = {"news": SPORT, "big": BIG, "broken": BROKEN}


@dataclass
class Journey:
    """What was seen of the pool `news` from its first write to its first answer: seconds, health of the pool
    and of its sub-model, each time that one of them changed."""

    seen: list[tuple[float, Health, Health]] = field(default_factory=list)
    loading: tuple[Manifest, Manifest] | None = None

    def look(self, kubectl: Kubectl, seconds: float) -> bool:
        """Note what is so now; whether both are Healthy."""
        pool, sub_model = both(kubectl, "news")
        health = health_of(pool), health_of(sub_model)
        if not self.seen or self.seen[-1][1:] != health:
            self.seen.append((seconds, *health))
        if health[1][1].startswith("Loading"):
            self.loading = pool, sub_model
        return [one[0] for one in health] == ["Healthy", "Healthy"]


@dataclass(frozen=True)
class Seen:
    """The namespace, and how its first pool came."""

    desk: Kubectl
    journey: Journey


def pool_named(name: str) -> Manifest:
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "ModelPool",
        "metadata": {"name": name},
        "spec": {},
    }


def manifests(name: str) -> str:
    """The pool `name` and its sub-model as Git would hold them."""
    return "".join(f"{json.dumps(one)}\n---\n" for one in (pool_named(name), POOLS[name]))


def both(kubectl: Kubectl, name: str) -> tuple[Manifest, Manifest]:
    """The pool and its one sub-model, from one look."""
    found = kubectl.list_of("modelpools,submodels")
    ours = {f"{one['kind']}/{one['metadata']['name']}": one for one in found}
    return ours[f"ModelPool/{name}"], ours[f"SubModel/{POOLS[name]['metadata']['name']}"]


@pytest.fixture(scope="module")
def seen(
    installed: Kubectl, namespace: Kubectl, checkpoints: Path, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    desk = namespace
    load_models(desk, _one_whole_one_cut_off(checkpoints, tmp_path_factory.mktemp("models")))
    start, journey = time.monotonic(), Journey()
    # As GitOps does: a client-side apply leaves a note that the next server-side one takes away.
    desk("apply", "--server-side", "-f", "-", stdin=manifests("news"))
    eventually(lambda: journey.look(desk, time.monotonic() - start), 300, "the pool is Healthy")
    desk("apply", "--server-side", "-f", "-", stdin=manifests("big") + manifests("broken"))
    return Seen(desk, journey)


def _one_whole_one_cut_off(checkpoints: Path, folder: Path) -> Path:
    """`sport` as it is; of the weights of `science` only the first half."""
    shutil.copytree(checkpoints / "sport", folder / "sport")
    shutil.copytree(checkpoints / "science", folder / "science")
    weights = folder / "science" / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    for name in ("world", "business"):
        (folder / name).mkdir()
    return folder


def test_on_its_way_a_pool_is_progressing_until_it_is_healthy(seen: Seen) -> None:
    for seconds, *healths in seen.journey.seen:
        told = "   ".join(
            f"{kind}: {status}, {words}" for kind, (status, words) in zip(KINDS, healths, strict=True)
        )
        print(f"{seconds:5.1f} s   {told}")
    for _, pool, sub_model in seen.journey.seen[:-1]:
        assert {pool[0], sub_model[0]} <= {"Progressing", "Healthy"}
        assert pool[0] == "Progressing"
    assert seen.journey.loading is not None, "it was never seen while it loaded"


def test_one_that_finds_no_gpu_is_progressing_in_the_schedulers_words(seen: Seen) -> None:
    pool, large = eventually(lambda: _once(seen.desk, "big", "Insufficient nvidia.com/gpu"), 60, "it is told")
    print(pool, large, sep="\n")
    assert large[0] == "Progressing"
    assert large[1].startswith("Unschedulable: 0/")
    assert pool == ("Progressing", "MembersNotReady: not ready: large (Unschedulable)")


def test_one_whose_checkpoint_is_cut_off_is_degraded_and_names_the_file(seen: Seen) -> None:
    pool, broken = eventually(lambda: _once(seen.desk, "broken", "model.safetensors"), 120, "it is told")
    print(pool, broken, sep="\n")
    assert broken[0] == "Degraded"
    assert pool[0] == "Degraded"


def _once(desk: Kubectl, name: str, words: str) -> tuple[Health, Health] | None:
    """Health of a pool and its sub-model as soon as the sub-model's has these words, and the pool speaks of
    it: its own routers may come later."""
    pool, sub_model = (health_of(one) for one in both(desk, name))
    return (pool, sub_model) if words in sub_model[1] and "MembersNotReady" in pool[1] else None


@pytest.mark.parametrize("case", ["healthy", "loading", "pending", "broken"])
def test_the_cases_beside_the_scripts_are_what_the_cluster_says(
    seen: Seen, case: str, tmp_path: Path
) -> None:
    names = {"healthy": "news", "pending": "big", "broken": "broken"}
    live = seen.journey.loading if case == "loading" else both(seen.desk, names[case])
    assert live is not None
    for one in live:
        kept = HEALTH / "fastserve.io" / one["kind"] / "testdata" / f"{case}.yaml"
        today = tmp_path / one["kind"] / f"{case}.yaml"
        today.parent.mkdir()
        YAML().dump(neutral(one), today)
        assert summary(YAML(typ="safe").load(kept)) == summary(neutral(one)), f"{kept} should be {today}"


def summary(manifest: Manifest) -> object:
    """What a case is about: which fields there are, but for past failures, and each condition without its
    message."""
    status = manifest["status"]
    conditions = sorted((one["type"], one["status"], one["reason"]) for one in status["conditions"])
    return sorted({*status} - {"lastFailure"}), conditions, health_of(manifest)[0]


@pytest.mark.parametrize("name", POOLS)
def test_a_dry_run_by_another_manager_changes_nothing(seen: Seen, name: str) -> None:
    command = ("apply", "--server-side", "--dry-run=server", ARGO, "-o", "json", "-f", "-")
    said = json.loads(seen.desk(*command, stdin=manifests(name)))
    before = {one["kind"]: one for one in both(seen.desk, name)}
    for one in said["items"]:
        assert _settled(one) == _settled(before[one["kind"]])
    diff = seen.desk.attempt("diff", "--server-side", ARGO, "-f", "-", stdin=manifests(name))
    assert (diff.returncode, diff.stdout) == (0, ""), diff.stdout + diff.stderr


def _settled(one: Manifest) -> Manifest:
    """All of an object but for what notes who wrote it."""
    noted = {"managedFields", "resourceVersion"}
    return {**one, "metadata": {k: v for k, v in one["metadata"].items() if k not in noted}}


def test_a_sync_by_another_manager_writes_nothing_that_anybody_acts_on(seen: Seen) -> None:
    look = lambda: (parts(seen.desk), pods(seen.desk), [_settled(one) for one in both(seen.desk, "news")])  # noqa: E731
    before = look()
    said = seen.desk("apply", "--server-side", ARGO, "-f", "-", stdin=manifests("news"))
    print(said.strip())
    assert look() == before


def test_replicas_that_git_leaves_out_stay_what_an_autoscaler_wrote(seen: Seen) -> None:
    seen.desk("scale", "submodel/large", "--replicas=2")
    seen.desk("apply", "--server-side", ARGO, "-f", "-", stdin=manifests("big"))
    assert seen.desk.get("submodel", "large")["spec"]["replicas"] == 2
