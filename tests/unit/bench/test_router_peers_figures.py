"""What the bench of routers makes of its cells, and what it has the upstream and the peers say."""

import json
from collections.abc import Sequence

import pytest

import peer_programs
from peer_load import Cell
from peer_report import CONNECTIONS, ENVOY, HOP, PREDICTIONS, fan_out_ratios, ratios_to, targets_of


def cells(*costs: tuple[float, float]) -> dict[int, Sequence[Cell]]:
    """The same rounds at every number of connections; a cost is the asked one's and of those behind."""
    rounds = [Cell(100, cpu, behind, 0.02, 0.03, 1000.0, 1.0) for cpu, behind in costs]
    return dict.fromkeys(CONNECTIONS, rounds)


def test_a_ratio_is_taken_within_its_round() -> None:
    figures = {HOP: cells((0.1, 0.0), (0.4, 0.0)), ENVOY: cells((0.1, 0.0), (0.2, 0.0))}
    assert ratios_to(figures, HOP, ENVOY, 8) == pytest.approx([1.0, 2.0])


def test_a_prediction_counts_the_routers_behind_the_door() -> None:
    figures = {PREDICTIONS[2]: cells((0.1, 0.2)), ENVOY: cells((0.05, 0.0))}
    assert fan_out_ratios(figures, 2, ENVOY, 1) == pytest.approx([2.0])


def test_without_envoy_there_is_no_ratio_and_no_target() -> None:
    figures = {HOP: cells((0.1, 0.0))}
    assert ratios_to(figures, HOP, ENVOY, 1) == []
    assert targets_of(figures) == {}


def test_a_target_is_told_by_its_worst_number_of_connections() -> None:
    dear = {**cells((0.1, 0.0)), 32: [Cell(100, 0.3, 0.0, 0.02, 0.03, 1000.0, 1.0)]}
    figures = {HOP: dear, ENVOY: cells((0.2, 0.0))}
    assert targets_of(figures) == {"our hop over a request proxied by Envoy": 1.5}


def test_peers_with_a_protocol_of_their_own_get_as_many_bytes_as_triton_answers() -> None:
    length = sum(map(len, peer_programs.triton_answer()))
    answers = {path: body for path, body in peer_programs.other_answers(length).items() if path != "/"}
    assert {path: len(body) for path, body in answers.items()} == dict.fromkeys(answers, length)
    assert all(peer_programs.MARK in body.decode() and json.loads(body) for body in answers.values())


def test_an_answer_that_nginx_would_read_variables_into_is_refused() -> None:
    with pytest.raises(ValueError, match="/x"):
        peer_programs._location("/x", "text/plain", b"costs $100")
