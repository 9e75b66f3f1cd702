"""The definitions are taken away and put back: the operator lives on, and pools come when applied again."""

import time

import pytest

from harness import fake
from harness.kubectl import Kubectl
from harness.operators import leader, restarts
from harness.release import ROOT
from harness.statuses import is_so
from harness.trace import parts, pods
from harness.waiting import at_rest, eventually

pytestmark = pytest.mark.timeout(900)

OF_POOL = "fastserve.io/pool=news"
NAMES = ("crd/modelpools.fastserve.io", "crd/submodels.fastserve.io")


def nobody_elses(cluster: Kubectl) -> bool:
    """Whether only this story has pools: to delete the definitions deletes all pools of the cluster."""
    rows = cluster("get", "fsp,fss", "-A", "--no-headers", "--ignore-not-found").splitlines()
    others = [row for row in rows if not row.startswith("story-06-delete ")]
    assert not others, f"pools of others: {others}"
    return True


def test_definitions_go_and_come_back(installed: Kubectl, fake_place: None, namespace: Kubectl) -> None:
    eventually(lambda: nobody_elses(installed), 120, "no pool of anybody else's is on the cluster")
    make(namespace)
    before = restarts(installed)
    start = time.monotonic()
    installed("delete", *NAMES, "--wait", seconds=120)
    try:
        eventually(lambda: not parts(namespace) and not pods(namespace), 120, "all that pools had is gone")
        print(f"without definitions everything is gone: {time.monotonic() - start:.1f} s")
        assert restarts(installed) == before
    finally:
        installed("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
        for name in NAMES:
            installed("wait", "--for=condition=Established", name, "--timeout=30s")
    start = time.monotonic()
    make(namespace)
    print(f"definitions back: the pool applied again is there: {time.monotonic() - start:.1f} s")
    assert restarts(installed) == before
    assert leader(installed) in before


def make(desk: Kubectl) -> None:
    def accepted() -> bool:
        return is_so(desk.get("modelpool", "news"), "Accepted") and len(pods(desk, OF_POOL)) == 2

    fake.apply(desk, fake.pool(), fake.sub_model("sport"))
    eventually(accepted, 120, "the pool is accepted, and two pods run")
    at_rest(lambda: parts(desk))
