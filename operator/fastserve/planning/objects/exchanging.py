"""What each accepted member's entry in the route table is to be next, from the entry that routers have and
what they say of themselves."""

from collections.abc import Mapping
from dataclasses import replace

from fastserve.api.routes import Member
from fastserve.api.submodel import SubModel
from fastserve.planning.moments import Moment
from fastserve.planning.objects.children import table_of
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.pod_views import member_pods
from fastserve.planning.objects.template import member_revision
from fastserve.planning.objects.wanting import replicas_of
from fastserve.planning.routes import Accepted
from fastserve.planning.versions.deciding import next_member
from fastserve.planning.versions.fitting import Beginning, fitted
from fastserve.planning.versions.words import Asked, Decision, Heard


def exchanges(
    observed: Observed, accepted: Mapping[str, Accepted], wanted: Mapping[str, Member], now: Moment
) -> dict[str, Decision]:
    """The decision on every accepted sub-model, by name; `wanted` are their members as the specs say. Raises
    ValueError where there is no pool."""
    pool = observed.pool
    if pool is None:
        raise ValueError("nothing is decided for a pool that is not there")
    table = table_of(observed)
    before = {member.name: member for member in (table.members if table else ())}
    # Of another task, what runs answers nobody any more: there is nothing to try the new versions beside.
    useless = table is not None and table.task is not pool.spec.task
    found = {}
    for name, one in accepted.items():
        heard = _heard(observed, one.sub_model, member_revision(pool, one.sub_model))
        asked = Asked(
            wanted=wanted[name],
            policy=one.sub_model.spec.rollout,
            replicas=replicas_of(pool, one.sub_model),
            new_pods=any(replica.outgoing for replica in heard),
            useless=useless,
        )
        decision = next_member(before.get(name), asked, heard, now)
        staff = wanted[name].staff
        most = staff.most if staff is not None else asked.replicas
        found[name] = Beginning(before.get(name), decision, max(most, len(heard)))
    return fitted(found, [member for name, member in before.items() if name not in accepted])


def _heard(observed: Observed, sub_model: SubModel, revision: str) -> list[Heard]:
    """What its pods say that stay, or stay until those of the wanted revision answer."""
    staying = [pod for pod in member_pods(observed, sub_model.metadata.name) if not pod.leaving]
    return [replace(pod.heard, outgoing=pod.revision != revision) for pod in staying]
