"""A healthy pool at rest on the cluster of `make cluster`: what is written meanwhile, by the API server's own
audit log; and which rights operator and routers used so far, against those that they were granted.

Needs FastServe on the cluster (`make e2e STORY=hello` installs it). Before the rest, a pool without pods is
made, spoilt by hand and deleted, so that every right that the operator may need is needed once.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from audited import Request, Right, granted, listed, requests, used, writes_by_object
from harness.example import load_models, member
from harness.kubectl import Kubectl
from harness.models import SPECIALISTS, specialists
from harness.release import NAMESPACE, RELEASE
from harness.statuses import must_be
from harness.storage import offer_volumes
from harness.target import own_cluster, state_folder, target
from harness.waiting import eventually

ROOT = Path(__file__).resolve().parent.parent
SPACE = "bench-at-rest"
OPERATOR = f"system:serviceaccount:{NAMESPACE}:{RELEASE}-operator"
ROUTERS = "-p-router"
KINDS = (
    "serviceaccounts", "roles", "rolebindings", "configmaps", "services", "networkpolicies",
    "poddisruptionbudgets", "controllerrevisions", "deployments",
)  # fmt: skip
HOLD = "example.com/hold"
HANDED_ON = {
    *(Right("discovery.k8s.io", "endpointslices", verb) for verb in ("get", "list", "watch")),
    *(Right("fastserve.io", "submodels/scale", verb) for verb in ("get", "update")),
    Right("coordination.k8s.io", "leases", "update"),
}
"""Held by the operator only because Kubernetes lets nobody hand on what they lack."""


@dataclass(frozen=True)
class Rights:
    """One identity's rights, by name."""

    who: str
    used_not_granted: Sequence[str]
    granted_not_used: Sequence[str]
    to_hand_on: Sequence[str]
    refused: int
    """Requests that the API server refused for want of a right."""


@dataclass(frozen=True)
class Rest:
    """`writes`: by object of the pool's namespace, what operator and routers wrote; `others`: what the
    cluster's own programs wrote there (a scheduler tells an Event again after minutes); `elsewhere`: by
    object, what the operator wrote outside of it; `reads`: of operator and routers, by verb and resource.
    `operators`: pods of the operator that were seen: more than its replicas where it was upgraded meanwhile,
    and then a new version may word a status anew."""

    minutes: float
    objects: int
    writes: Mapping[str, int]
    others: Mapping[str, int]
    elsewhere: Mapping[str, int]
    reads: Mapping[str, int]
    operators: Sequence[str]


@contextmanager
def space(cluster: Kubectl) -> Iterator[Kubectl]:
    cluster("delete", "namespace", SPACE, "--ignore-not-found", "--wait", seconds=180)
    cluster("create", "namespace", SPACE)
    try:
        yield cluster.within(SPACE)
    finally:
        cluster("delete", "namespace", SPACE, "--wait", seconds=300)


def exercise(kubectl: Kubectl) -> None:
    """Make each kind of child, have it repaired, have it deleted by the operator itself: the finalizer keeps
    the pool, and with it Kubernetes' garbage collector, until all is gone."""
    spec = {"suspend": True, "router": {"standbyReplicas": 2}}
    pool = {**_pool("tried", spec), "metadata": {"name": "tried", "finalizers": [HOLD]}}
    one = member("tried-one", poolRef={"name": "tried"}, suspend=True, replicas=2)
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pool, one]}))
    chosen = "fastserve.io/pool=tried"
    for kind in KINDS:
        eventually(partial(_there, kubectl, kind, chosen), 60, f"{kind} are made")
    kubectl("label", "--overwrite", ",".join(KINDS), "-l", chosen, "app.kubernetes.io/name=spoilt")
    spoilt = f"{chosen},app.kubernetes.io/name=spoilt"
    eventually(lambda: not kubectl.list_of(",".join(KINDS), spoilt), 60, "all is repaired")
    kubectl("delete", "modelpool/tried", "--wait=false")
    eventually(lambda: not kubectl.list_of(",".join(KINDS), chosen), 60, "the operator deleted them")
    kubectl("patch", "modelpool/tried", "--type=merge", "-p", '{"metadata": {"finalizers": []}}')
    kubectl("delete", "submodel/tried-one")


def _there(kubectl: Kubectl, kind: str, chosen: str) -> bool:
    return bool(kubectl.list_of(kind, chosen))


def healthy(kubectl: Kubectl, count: int) -> None:
    """A pool of `count` members that answers."""
    load_models(kubectl, specialists())
    little = {"requests": {"cpu": "20m", "memory": "64Mi"}}  # it rests: others may have the node
    members = [member(name, podTemplate={"resources": little}) for name in SPECIALISTS[:count]]
    pool = _pool("news", {"router": {"resources": little}})
    kubectl.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": [pool, *members]}))
    eventually(lambda: must_be(kubectl, "modelpool", "news", "Ready"), 600, "the pool is Ready")


def _pool(name: str, spec: Mapping[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "fastserve.io/v1alpha1",
        "kind": "ModelPool",
        "metadata": {"name": name},
        "spec": spec,
    }


def rest(kubectl: Kubectl, minutes: float) -> Rest:
    """Let it be for so long, and read what happened."""
    print(f"at rest for {minutes:g} minutes", file=sys.stderr, flush=True)
    began = datetime.now(UTC).isoformat()
    time.sleep(minutes * 60)
    ended = datetime.now(UTC).isoformat()
    log = state_folder() / "logs" / "audit.log"
    seen = [one for one in requests(log) if began <= one.at < ended]
    ours = [one for one in seen if one.user == OPERATOR or _is_router(one)]
    others = [one for one in seen if one.namespace == SPACE and one not in ours]
    return Rest(
        minutes=minutes,
        objects=len(kubectl.list_of(",".join((*KINDS, "pods", "fsp", "fss")))),
        writes=dict(writes_by_object(one for one in ours if one.namespace == SPACE)),
        others=dict(writes_by_object(others)),
        elsewhere=dict(writes_by_object(one for one in ours if one.namespace == NAMESPACE)),
        reads=_counted(one for one in ours if not one.writes and one.namespace in {SPACE, NAMESPACE, ""}),
        operators=sorted({one.pod for one in ours if one.user == OPERATOR}),
    )


def _counted(found: Iterable[Request]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in found:
        who = "operator" if one.user == OPERATOR else "router"
        counts[f"{who}: {one.right}"] = counts.get(f"{who}: {one.right}", 0) + 1
    return dict(sorted(counts.items()))


def _is_router(request: Request) -> bool:
    return request.user.startswith("system:serviceaccount:") and request.user.endswith(ROUTERS)


def rights(kubectl: Kubectl) -> list[Rights]:
    """Of the operator and of routers: all that the log knows, against the roles as they are now."""
    log = state_folder() / "logs" / "audit.log"
    seen = list(requests(log, "system:serviceaccount:"))
    home = kubectl.within(NAMESPACE)
    name = f"{RELEASE}-operator"
    operator = [home.get("clusterrole", name), home.get("role", f"{name}-lease")]
    router = [kubectl.get("role", f"news{ROUTERS}")]
    return [
        _rights("operator", [one for one in seen if one.user == OPERATOR], granted(operator), HANDED_ON),
        _rights("router", [one for one in seen if _is_router(one)], granted(router), set()),
    ]


def _rights(who: str, seen: list[Request], has: frozenset[Right], handed_on: set[Right]) -> Rights:
    needed = used(one for one in seen if not one.forbidden)
    idle = has - needed
    return Rights(
        who=who,
        used_not_granted=listed(needed - has),
        granted_not_used=listed(idle - handed_on),
        to_hand_on=listed(idle & handed_on),
        refused=sum(one.forbidden for one in seen),
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="how long it rests")
    parser.add_argument("--members", type=int, default=1, choices=range(1, len(SPECIALISTS) + 1))
    given = parser.parse_args()
    cluster = target()
    if not own_cluster():
        raise SystemExit("the audit log is read where `make cluster` keeps it: unset E2E_KUBECONFIG")
    offer_volumes(cluster)
    with space(cluster) as kubectl:
        exercise(kubectl)
        healthy(kubectl, given.members)
        time.sleep(15)  # routers tell their prototypes to the operator, which stores them
        found = rest(kubectl, given.minutes)
        verbs = rights(kubectl)
    report(found, verbs)
    return 1 if found.writes or any(one.used_not_granted or one.granted_not_used for one in verbs) else 0


def report(found: Rest, verbs: Sequence[Rights]) -> None:
    """Print the tables and write bench/results/operator_at_rest.json."""
    console = Console()
    table = Table("OBJECT", "WRITES", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name, count in {**found.writes, **found.elsewhere, **found.others}.items():
        table.add_row(name, str(count))
    console.print(f"{found.minutes:g} minutes at rest; {found.objects} objects; written meanwhile:")
    console.print(table)
    console.print(f"pods of the operator that were seen: {', '.join(found.operators)}")
    table = Table(
        "WHO", "USED, NOT GRANTED", "GRANTED, NOT USED", "ONLY TO HAND ON", "REFUSED", box=box.SIMPLE_HEAD
    )
    for one in verbs:
        lists = (one.used_not_granted, one.granted_not_used, one.to_hand_on)
        table.add_row(one.who, *("\n".join(names) or "none" for names in lists), str(one.refused))
    console.print(table)
    results = ROOT / "bench" / "results" / "operator_at_rest.json"
    document = {"rest": asdict(found), "rights": [asdict(one) for one in verbs]}
    results.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
