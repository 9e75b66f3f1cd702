"""The queue before a Triton: nobody is lost, every turn comes, and who goes without is decided fairly."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from fastserve.router.admission.fairness import TURNS, FairQueue, Ticket, batch_share
from fastserve.router.caller import Caller, Priority

PRIORITIES, TENANTS = st.sampled_from(Priority), st.sampled_from(["a", "b", "c", "d", "e"])
CALLERS = st.builds(Caller, PRIORITIES, TENANTS)
INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


def queue_of(callers: list[Caller]) -> tuple[FairQueue[Ticket], list[Ticket]]:
    queue: FairQueue[Ticket] = FairQueue()
    tickets = [Ticket(caller, 0.0, float(at)) for at, caller in enumerate(callers)]
    for ticket in tickets:
        queue.add(ticket)
    return queue, tickets


def served(queue: FairQueue[Ticket]) -> list[Ticket]:
    found = []
    while (ticket := queue.next()) is not None:
        found.append(ticket)
    return found


@given(st.lists(CALLERS), st.sets(st.integers(0, 99)))
def test_everybody_who_did_not_leave_is_served_once(callers: list[Caller], leaving: set[int]) -> None:
    queue, tickets = queue_of(callers)
    gone = [tickets[at] for at in leaving if at < len(tickets)]
    assert all(queue.remove(ticket) for ticket in gone)
    assert not any(queue.remove(ticket) for ticket in gone)
    assert len(queue) == len(tickets) - len(gone)
    turns = served(queue)
    assert len(turns) == len(tickets) - len(gone)
    assert set(turns) == set(tickets) - set(gone)
    assert len(queue) == queue.count(INTERACTIVE) == queue.count(BATCH) == 0


@given(st.lists(CALLERS))
def test_a_tenant_s_own_requests_are_served_in_the_order_in_which_they_came(callers: list[Caller]) -> None:
    turns = served(queue_of(callers)[0])
    for caller in set(callers):
        own = [ticket.since for ticket in turns if ticket.caller == caller]
        assert own == sorted(own)


@given(st.lists(CALLERS))
def test_no_tenant_has_two_turns_while_another_one_of_its_band_waits_for_one(callers: list[Caller]) -> None:
    turns = served(queue_of(callers)[0])
    for band in Priority:
        tenants = [ticket.caller.tenant for ticket in turns if ticket.caller.priority is band]
        for at, tenant in enumerate(tenants):
            nexts = [i for i in range(at + 1, len(tenants)) if tenants[i] == tenant]
            between = tenants[at + 1 : nexts[0]] if nexts else []
            later = set(tenants[nexts[0] :]) if nexts else set()
            assert later - {tenant} <= set(between)


@given(st.lists(CALLERS))
def test_batch_has_every_tenth_turn_while_interactive_ones_wait_and_no_more(callers: list[Caller]) -> None:
    bands = [ticket.caller.priority for ticket in served(queue_of(callers)[0])]
    last_batch = max((at for at, band in enumerate(bands) if band is BATCH), default=-1)
    last_interactive = max((at for at, band in enumerate(bands) if band is INTERACTIVE), default=-1)
    both = bands[: min(last_batch, last_interactive) + 1]
    assert all((band is BATCH) == (at % TURNS == TURNS - 1) for at, band in enumerate(both))


@given(st.lists(CALLERS), CALLERS, st.integers(0, 20))
def test_no_more_are_served_before_a_new_one_than_was_forecast(
    callers: list[Caller], newcomer: Caller, turns: int
) -> None:
    queue, _ = queue_of(callers)
    for _ in range(turns):
        queue.next()
    ahead = queue.ahead(newcomer)
    ticket = Ticket(newcomer, 0.0, 0.0)
    queue.add(ticket)
    # Batch may be about to have the turn that it waited nine others for.
    assert served(queue).index(ticket) <= ahead + (newcomer.priority is INTERACTIVE)


@given(st.lists(CALLERS, min_size=1), CALLERS)
def test_who_makes_room_is_the_newest_of_those_with_the_least_right_to_it(
    callers: list[Caller], newcomer: Caller
) -> None:
    queue, tickets = queue_of(callers)
    room = len(queue)
    sizes = Counter(ticket.caller for ticket in tickets)
    own, share = sizes[newcomer], batch_share(room)
    batch, interactive = queue.count(BATCH), queue.count(INTERACTIVE)
    victim = queue.outranked(newcomer, room)
    most = max((n for one, n in sizes.items() if one.priority is newcomer.priority), default=0)
    if newcomer.priority is INTERACTIVE and batch > share:
        assert victim is [ticket for ticket in tickets if ticket.caller.priority is BATCH][-1]
    elif newcomer.priority is BATCH and batch < share and interactive:
        assert victim is not None
        assert victim.caller.priority is INTERACTIVE
    elif most > own + 1:
        assert victim is not None
        assert sizes[victim.caller] == most
        assert victim is [ticket for ticket in tickets if ticket.caller == victim.caller][-1]
    else:
        assert victim is None


@given(st.lists(CALLERS, min_size=1, max_size=300), st.integers(1, 30))
def test_the_room_is_never_exceeded_and_both_bands_keep_their_share_of_it(
    callers: list[Caller], room: int
) -> None:
    queue: FairQueue[Ticket] = FairQueue()
    most_batch = 0
    for caller in callers:
        if len(queue) == room:
            victim = queue.outranked(caller, room)
            if victim is None:
                continue
            assert queue.remove(victim)
        queue.add(Ticket(caller, 0.0, 0.0))
        most_batch = max(most_batch, queue.count(BATCH))
        assert len(queue) <= room
    came = Counter(caller.priority for caller in callers)
    assert queue.count(BATCH) >= min(came[BATCH], batch_share(room))
    if came[INTERACTIVE]:
        assert queue.count(INTERACTIVE) >= min(came[INTERACTIVE], room - max(most_batch, batch_share(room)))
