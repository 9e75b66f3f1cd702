"""When to look again although no event tells: routers say how loading goes only when they are asked."""

from collections.abc import Iterable

from fastserve.api.meta import Conditions
from fastserve.api.modelpool import ModelPoolStatus
from fastserve.api.objects import CONFIG_MAP
from fastserve.planning.moments import Moment, seconds_between
from fastserve.planning.objects.conditions import find
from fastserve.planning.objects.decision import ObjectPlan
from fastserve.planning.objects.door import door_of
from fastserve.planning.objects.drift import applied_at
from fastserve.planning.objects.earlier_tables import READ_SECONDS, noted
from fastserve.planning.objects.judging import Member, judge_all
from fastserve.planning.objects.membership import EXAMPLES_MISSING
from fastserve.planning.objects.naming import routes_of_pool
from fastserve.planning.objects.observed import Observed
from fastserve.planning.objects.pod_views import PodView
from fastserve.planning.objects.reading import read_status
from fastserve.planning.objects.scaled import has_news
from fastserve.planning.objects.verdicts import scaling_up
from fastserve.planning.versions.words import Decision, Phase

STEPS = ((30.0, 1.0), (120.0, 5.0), (600.0, 15.0))
"""Not ready for less than so many seconds -> look again after so many."""
SLOWEST = 30.0
TABLE_NEWS = 600.0
EXCHANGE, EXCHANGE_LATER, EXCHANGE_NEWS = 1.5, 5.0, 600.0
"""While versions are exchanged: seconds until the next look, and those after so many without a step, as in
a long canary."""
LOADING_AT_MOST = 3.0
"""While a router loads, its next word is never heard later than this: what it knows is to stand in the status
within five seconds, and a look takes its time too."""
DECISION = 3.0
"""A decision that was heard and is not in the spec yet: when it should be."""
STARTING = 60.0
"""A container that runs for less than so many seconds and was not heard may still be about to speak."""


def recheck_after(observed: Observed, plan: ObjectPlan, now: Moment) -> float | None:
    """Seconds until the next look, None where all is at rest."""
    if observed.pool is None:
        return None
    members = judge_all(observed, plan, (), now).values()
    halted = plan.pool_rejection is not None
    waits = [_member_wait(member, now, halted=halted) for member in members]
    waits += [DECISION for member in members if has_news(member)]
    waits.append(_table_wait(observed, now))
    if plan.foreign:
        waits.append(SLOWEST)
    waits.append(_door_wait(observed, plan, members, now))
    return min((wait for wait in waits if wait is not None), default=None)


def _table_wait(observed: Observed, now: Moment) -> float | None:
    """A new table makes routers compute prototypes, which they tell when they are asked. Of a table that is
    old enough nothing more will come; nor of one that says the same as the one before but for replicas and
    versions, which follow each other while a pool is scaled, once it was read."""
    live = observed.child(CONFIG_MAP, routes_of_pool(observed.key.name))
    written = applied_at(live) if live else ""
    news = READ_SECONDS if live and noted(live) else TABLE_NEWS
    age = seconds_between(written, now) if written else news
    return _patience(written, now) if age < news else None


def _member_wait(member: Member, now: Moment, *, halted: bool) -> float | None:
    """`halted` where the pool is rejected, so that no exchange goes on."""
    if member.rejection is not None:
        waits = member.rejection.reason == EXAMPLES_MISSING
        return _patience(_since(member), now) if waits else None
    if member.exchanging is not None and member.staying and not halted:
        return _exchange_wait(member.exchanging, now)
    if member.refusal is not None and len(member.answering) == len(member.staying):
        return None
    scaled_up = scaling_up(member)
    if (member.ready and not scaled_up) or member.suspended or (member.replicas == 0 and not member.staying):
        return None
    wait = SLOWEST if scaled_up else _patience(_since(member), now)
    speaking = any(_has_more_to_say(pod, now) for pod in member.current if pod not in member.proved)
    return min(wait, LOADING_AT_MOST) if speaking else wait


def _has_more_to_say(pod: PodView, now: Moment) -> bool:
    """Whether its router loads, or began a moment ago; no event tells of either."""
    if pod.state is not None:
        return pod.load is None or pod.load.phase != "FailedToLoad"
    begun = (one.get("state", {}).get("running", {}).get("startedAt", "") for one in pod.containers)
    return any(moment and seconds_between(moment, now) < STARTING for moment in begun)


def _exchange_wait(exchange: Decision, now: Moment) -> float | None:
    """Only routers know how an exchange goes. A pause ends by a change of the spec, which is an event."""
    rollout = exchange.member.rollout
    if exchange.phase is Phase.PAUSED:
        return None
    if rollout is None:  # all that is left is to hear that everybody is back
        return EXCHANGE_LATER
    age = seconds_between(max(rollout.step, rollout.tried_since), now)
    return EXCHANGE if age < EXCHANGE_NEWS else EXCHANGE_LATER


def _since(member: Member) -> str:
    """When it was last ready, or first seen; empty where that is now."""
    return _fell(member.before.conditions if member.before else ())


def _fell(conditions: Conditions) -> str:
    ready = find(conditions, "Ready")
    return ready.last_transition_time if ready is not None and ready.status == "False" else ""


def _patience(since: str, now: Moment) -> float:
    age = seconds_between(since, now) if since else 0.0
    return next((wait for limit, wait in STEPS if age < limit), SLOWEST)


def _door_wait(observed: Observed, plan: ObjectPlan, members: Iterable[Member], now: Moment) -> float | None:
    door = door_of(observed, plan)
    anybody = any(member.answering or member.asleep for member in members)
    if door.wanted == 0 or plan.pool_rejection is not None or (door.open if anybody else door.informed):
        return None
    before = read_status(observed.pool_manifest, ModelPoolStatus)
    return _patience(_fell(before.conditions if before else ()), now)
