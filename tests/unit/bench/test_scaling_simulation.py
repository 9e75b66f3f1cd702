"""The simulator must serve as a server does, and bill what is there, or its tables prove nothing."""

from random import Random

import pytest

from fastserve.api.scaling import LoadReport
from fastserve.scaling.samples import BUCKETS, Sample
from scaling.candidates import OURS
from scaling.compare import Judged, best_peer, choose
from scaling.faults import FAULTS, Scene, Told, doors, wrong_actions
from scaling.judging import Figures, figures, flaps, ratio
from scaling.scalers import Clairvoyant, Hpa, Keda, Kpa, Kubeai
from scaling.simulate import Bin, Run, Scaler, Second, Service, Simulation, Terms, View
from scaling.traces import poisson, scaled, steady

ONE = Service(batch=1, limit=2, seconds=(1.0,))


class Always(Scaler):
    """The same number, or one by the second from which it holds."""

    period = 1

    def __init__(self, *numbers: tuple[float, int]) -> None:
        self.numbers = numbers

    def step(self, view: View) -> int:
        return [number for at, number in self.numbers if at <= view.now][-1]


def simulate(arrivals: list[float], scaler: Scaler, service: Service = ONE, **terms: object) -> Run:
    return Simulation(arrivals, scaler, Terms(service, (5.0,), until=60.0, **terms)).run()  # type: ignore[arg-type]


def test_requests_wait_for_those_before_them() -> None:
    run = simulate([1.0, 1.5, 1.75], Always((0.0, 1)))
    assert run.waits == pytest.approx([0.0, 0.5, 1.25])


def test_a_batch_takes_all_that_wait_up_to_its_size() -> None:
    run = simulate([1.0, 1.1, 1.2, 1.3], Always((0.0, 1)), Service(batch=2, limit=4, seconds=(1.0,)))
    assert run.waits == pytest.approx([0.0, 0.9, 0.8, 1.7])


def test_one_server_at_random_times_waits_as_pollaczek_and_khinchine_say() -> None:
    arrivals = poisson(steady(7.0), 7.0, 3000.0, Random(4))
    terms = Terms(Service(1, 4, (0.1,), max_queue=1000), (1.0,), until=3000.0)
    run = Simulation(arrivals, Always((0.0, 1)), terms).run()
    assert sum(run.waits) / len(run.waits) == pytest.approx(0.1 * 0.7 / (2 * 0.3), rel=0.1)


def test_who_finds_the_queue_full_is_lost() -> None:
    run = simulate([1.0] * 6, Always((0.0, 1)), Service(1, 2, (1.0,), max_queue=2))
    assert (len(run.waits), run.lost) == (4, 2)


def test_a_queue_that_stands_is_kept_short_where_no_more_replicas_can_come() -> None:
    arrivals = [1.0 + place / 100.0 for place in range(3000)]
    service = Service(1, 2, (0.05,))
    terms = [Terms(service, (1.0,), until=60.0, most=most) for most in (20, 1)]
    waits, kept_short = (Simulation(arrivals, Always((0.0, 1)), one).run() for one in terms)
    assert max(waits.waits) > 10.0
    # 256 came before it was seen to stand, or fewer; after these nobody waits for more than 8 and 2 others.
    assert max(kept_short.waits[-100:]) < 0.6
    assert kept_short.lost > waits.lost


def test_doors_hold_requests_for_a_sleeper_which_counts_as_waiting() -> None:
    class Woken(Always):
        wakes = True

    run = simulate([10.5], Woken((0.0, 0), (11.0, 1)), least=0, start=0)
    assert run.waits == pytest.approx([5.0])
    assert run.held == 1


def test_what_doors_held_did_not_wait_at_a_replica() -> None:
    """A router's row tells how long requests waited at it."""
    seen: list[Sample] = []

    class Looks(Always):
        def step(self, view: View) -> int:
            seen[:] = view.samples
            return super().step(view)

    simulate([10.5], Looks((0.0, 0), (11.0, 1)), least=0, start=0)
    assert sum(one.waits[0] for one in seen) == sum(sum(one.waits) for one in seen) == 1


def test_replicas_are_paid_for_from_when_they_are_asked_for() -> None:
    assert simulate([], Always((0.0, 1), (10.0, 2), (20.0, 1))).replica_seconds == 60.0 + 10.0


def test_a_replica_answers_what_it_has_before_it_goes() -> None:
    last = Always((0.0, 1), (20.0, 0))
    slow = Service(1, 2, (30.0,))
    assert simulate([19.5], last, slow, least=0).replica_seconds == 49.0
    assert simulate([], last, slow, least=0).replica_seconds == 20.0
    assert simulate([], last, slow, least=0, linger=3.0).replica_seconds == 22.0


def test_what_comes_before_it_is_judged_counts_for_nothing() -> None:
    run = simulate([1.0, 31.0], Always((0.0, 1)), judged_from=30.0)
    assert len(run.waits) == 1
    assert run.replica_seconds == pytest.approx(30.0)


def test_the_pace_is_learnt_while_requests_wait() -> None:
    run = simulate([1.0] * 150, Always((0.0, 1)), Service(1, 2, (0.1,)))
    assert run.pace == pytest.approx(10.0, rel=0.05)


def test_samples_say_what_was() -> None:
    seen: list[Sample] = []

    class Looking(Always):
        def step(self, view: View) -> int:
            seen[:] = list(view.samples)
            return 1

    simulate([4.5, 4.6, 4.7, 4.8], Looking((0.0, 1)))
    slot = next(one for one in seen if one.at == 4.0)
    assert (slot.arrivals_low, slot.waiting) == (4.0, 2.0)
    assert slot.busy_seconds == pytest.approx(1.5)
    assert sum(slot.waits) == 2.0


def view_of(replicas: int, now: float = 60.0, **each: float) -> View:
    """A minute of the same."""
    view = View(now=now, replicas=replicas, ready=replicas)
    view.seconds.extend(Second(**{"ready": float(replicas), **each}) for _ in range(60))  # type: ignore[arg-type]
    return view


def test_an_hpa_goes_up_by_the_ratio_and_not_within_its_tolerance() -> None:
    assert Hpa("in_flight", 2.0).step(view_of(2, in_flight=4.3)) == 2
    assert Hpa("in_flight", 2.0).step(view_of(2, in_flight=6.1)) == 4
    assert Hpa("cpu", 0.5).step(view_of(2, computing=1.6)) == 4
    assert Hpa("in_flight", 1.0).step(view_of(2, in_flight=50.0)) == 6  # 4 pods in 15 s


def test_an_hpa_goes_down_to_the_most_of_its_window() -> None:
    hpa = Hpa("in_flight", 1.0, stabilisation=30.0)
    assert hpa.step(view_of(4, 60.0, in_flight=4.0)) == 4
    assert [hpa.step(view_of(4, at, in_flight=1.0)) for at in (75.0, 90.0, 105.0)] == [4, 4, 1]


def test_a_kpa_panics_at_twice_and_stays_until_a_minute_later() -> None:
    kpa, burst = Kpa(1.0), view_of(2, in_flight=1.0)
    for second in burst.last(6):
        second.in_flight = 5.0
    assert kpa.step(burst) == 5
    assert kpa.step(view_of(5, 90.0, in_flight=1.0)) == 5
    assert kpa.step(view_of(5, 122.0, in_flight=1.0)) == 2  # at most half of them go at once


def test_a_kpa_takes_the_last_one_after_its_grace() -> None:
    kpa = Kpa(1.0)
    assert [kpa.step(view_of(1, at)) for at in (60.0, 88.0, 90.0)] == [1, 1, 0]


def test_keda_wakes_at_a_poll_and_sleeps_after_its_cooldown() -> None:
    keda = Keda("in_flight", 1.0)
    assert [keda.step(view_of(0, at, in_flight=1.0)) for at in (15.0, 30.0)] == [0, 1]
    assert [keda.step(view_of(1, at)) for at in (315.0, 330.0)] == [1, 0]


def test_kubeai_goes_down_when_it_was_wanted_three_times_before() -> None:
    kubeai = Kubeai(1, window=10)
    view = view_of(3)
    view.in_flight = 1
    assert [kubeai.step(view) for _ in range(4)] == [3, 3, 3, 1]


def test_the_clairvoyant_asks_a_load_time_ahead_and_keeps_over_short_pauses() -> None:
    arrivals = [*(20.0 + place / 10.0 for place in range(20)), *(26.0 + place / 10.0 for place in range(20))]
    seer = Clairvoyant(arrivals, pace=5.0, use=1.0, load=4.0)
    asked = {at: seer.step(view_of(0, at)) for at in (10.0, 14.0, 20.0, 23.0, 27.0, 28.0)}
    assert asked == {10.0: 0, 14.0: 2, 20.0: 2, 23.0: 2, 27.0: 2, 28.0: 0}


def test_a_flap_is_a_change_the_other_way_within_ten_minutes() -> None:
    assert flaps([(0.0, 2), (100.0, 3), (200.0, 2)], 1) == 1
    assert flaps([(0.0, 2), (700.0, 1)], 1) == 0
    assert flaps([(0.0, 2), (100.0, 1), (500.0, 2)], 1, since=400.0) == 1


def test_lost_requests_are_late() -> None:
    run = Run(waits=[0.0, 0.05, 0.2], lost=1, replica_seconds=10.0)
    found = figures(run, Terms(ONE, (5.0,), until=3600.0))
    assert (found.requests, found.attainment, found.lost) == (4, 0.5, 1)


def test_a_ratio_has_an_interval_around_its_mean() -> None:
    mean, low, high = ratio([8.0, 9.0, 10.0], [10.0, 10.0, 10.0])
    assert mean == pytest.approx(0.9)
    assert 0.8 <= low < mean < high <= 1.0


def test_the_cheapest_setting_that_keeps_the_target_is_chosen_else_the_nearest() -> None:
    assert choose({0: (0.99, 30.0), 1: (0.96, 20.0), 2: (0.90, 10.0)}) == 1
    assert choose({0: (0.80, 30.0), 1: (0.90, 90.0)}) == 1


def judged(name: str, attainment: float, cost: float) -> Judged:
    return Judged(name, "", (Figures(100, attainment, 0.1, cost, 0, 0.0, 0),))


def test_the_best_peer_keeps_the_target_or_what_ours_keeps() -> None:
    peers = [judged("KPA", 0.96, 50.0), judged("KEDA", 0.90, 40.0), judged("HPA on CPU", 0.99, 80.0)]
    assert best_peer([judged(OURS, 0.99, 30.0), *peers]).scaler == "KPA"
    assert best_peer([judged(OURS, 0.85, 30.0), *peers]).scaler == "KEDA"


def test_a_real_trace_keeps_its_shape_when_it_is_scaled() -> None:
    times = [float(at) for at in range(600)] + [300.0 + at / 10.0 for at in range(600)]
    found = scaled(sorted(times), 10.0, 0.0, 600.0, Random(1))
    busy = sum(300.0 <= at < 360.0 for at in found)
    assert busy / 60.0 == pytest.approx(60.0, rel=0.1)
    assert sum(at < 60.0 for at in found) / busy == pytest.approx(60 / 660, rel=0.15)


def told_of_four() -> dict[str, LoadReport]:
    told, ready = Told(), [f"replica-{place}" for place in range(4)]
    told.add(
        Sample(100.0, 43.0, 43.0, busy_seconds=6.0, waiting=5.0, waits=(43.0,) + (0.0,) * (BUCKETS - 1)),
        ready,
    )
    return told.reports(ready, View(pace=20.0, limit=2), 102.0)


def test_the_words_of_all_routers_add_up_to_what_was() -> None:
    reports = told_of_four()
    own = [row for one in reports.values() for row in one.rows if row.own]
    sent = [row for name in doors() for row in reports[name].rows]
    assert sum(row.arrivals for row in own) == sum(row.arrivals for row in sent) == 43
    assert sum(row.waiting for row in own) == 5
    for row in own:
        name = next(name for name, one in reports.items() if row in one.rows)
        assert sum(one.sent[name] for one in sent) == row.arrivals


def test_each_fault_changes_what_is_heard() -> None:
    began, now = (
        told_of_four(),
        {name: one.model_copy(update={"now": 104.0}) for name, one in told_of_four().items()},
    )
    for name, fault in FAULTS.items():
        assert fault(Scene(now, began, 0.0)) != now or fault(Scene(now, began, 60.0)) != now, name


def run_with(*changes: tuple[float, int], late: bool = False) -> Run:
    bins = [Bin(at * 10.0, waits=[1.0 if late else 0.0]) for at in range(200)]
    return Run(changes=list(changes), bins=bins)


def test_an_action_is_wrong_that_the_other_run_did_not_do() -> None:
    without = run_with((100.0, 4), (500.0, 3))
    assert not wrong_actions(run_with((100.0, 4), (509.0, 3)), without, 3, 0.1, 400.0)
    assert wrong_actions(run_with((300.0, 5)), without, 3, 0.1, 400.0)
    assert wrong_actions(run_with((100.0, 4), (300.0, 3)), without, 3, 0.1, 400.0)


def test_an_action_that_requests_call_for_is_not_wrong() -> None:
    without = run_with((100.0, 4))
    assert not wrong_actions(run_with((300.0, 5), late=True), without, 3, 0.1, 400.0)
    assert not wrong_actions(run_with((100.0, 4), (900.0, 3)), without, 3, 0.1, 400.0)
    assert wrong_actions(run_with((100.0, 4), (900.0, 3), late=True), without, 3, 0.1, 400.0)
