"""Since when an answer is owed."""

from fastserve.router.pulse import Pulse


def test_a_first_request_while_a_probe_is_under_way_is_not_told_the_age_of_the_machine() -> None:
    pulse = Pulse()
    pulse.probed_at = 3000.0
    pulse.begin(3000.2)
    assert pulse.silence(3000.5) == 0.5


def test_what_a_probe_owes_already_counts() -> None:
    pulse = Pulse()
    pulse.sign(10.0)
    pulse.probed_at = 12.0
    pulse.begin(13.0)
    assert pulse.silence(14.0) == 2.0


def test_a_sign_during_the_probe_counts() -> None:
    pulse = Pulse()
    pulse.probed_at = 12.0
    pulse.sign(12.5)
    pulse.begin(13.0)
    assert pulse.silence(14.0) == 1.5
