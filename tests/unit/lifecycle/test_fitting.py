import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from engine_checkpoints import CONFIGS, TEXTS, save_classifier
from fastserve.lifecycle.checkpoint import tokenise
from fastserve.lifecycle.fitting import FitSettings, Task, batches, fit, probabilities, share_of_rate
from fastserve.lifecycle.learners import HeadOnly, WholeModel, embedding_tables


class Line:
    """Two classes on a line: one weight and one bias for each."""

    def __init__(self, places: Sequence[float]) -> None:
        torch.manual_seed(0)
        self.module: nn.Module = nn.Linear(1, 2)
        self.lengths: Sequence[int] = [1] * len(places)
        self._places = torch.tensor(places).unsqueeze(1)

    def logits(self, rows: Sequence[int]) -> Tensor:
        return torch.as_tensor(self.module(self._places[list(rows)]))


def settings(epochs: int = 30, patience: int = 30, learning_rate: float = 0.1) -> FitSettings:
    return FitSettings(epochs, 4, learning_rate, patience, seed=0)


def test_every_row_is_in_one_batch_and_neighbours_are_of_alike_length() -> None:
    learner = Line([0.0] * 50)
    learner.lengths = [place % 10 for place in range(50)]
    made = batches(learner, range(50), 8, random.Random(0))
    assert sorted(row for rows in made for row in rows) == list(range(50))
    spread = [
        max(learner.lengths[row] for row in rows) - min(learner.lengths[row] for row in rows) for rows in made
    ]
    assert max(spread) <= 2


def test_the_rate_climbs_then_falls_and_never_ends_early() -> None:
    shares = [share_of_rate(step, 100) for step in range(101)]
    top = shares.index(1.0)
    assert shares[:top] == sorted(shares[:top])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert shares[99] > 0.0 == shares[100]


def test_what_can_be_told_apart_is_learned() -> None:
    learner = Line([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0, -2.5, 2.5])
    task = Task(range(6), range(6, 8), [0, 0, 0, 1, 1, 1, 0, 1], ("left", "right"))
    assert fit(learner, task, settings(), lambda _: None).metrics.accuracy == 1.0


def test_the_weights_of_the_best_epoch_are_kept_and_patience_ends_the_rest() -> None:
    # What is learned is wrong for the rows that judge, so that the first epoch stays the best.
    learner = Line([-3.0, -2.0, 2.0, 3.0, -2.5, 2.5])
    task = Task(range(4), range(4, 6), [0, 0, 1, 1, 1, 0], ("left", "right"))
    events: list[Mapping[str, object]] = []
    fitted = fit(learner, task, settings(patience=3), events.append)
    epochs = [event for event in events if event["event"] == "epoch"]
    assert len(epochs) == fitted.epoch + 3 < 30
    assert min(epochs, key=lambda event: float(str(event["validationLoss"])))["epoch"] == fitted.epoch
    truth = probabilities(learner, range(4, 6))[[0, 1], [1, 0]]
    assert -float(torch.tensor(truth).log().mean()) == pytest.approx(fitted.metrics.loss)


@pytest.mark.parametrize("family", CONFIGS)
def test_a_head_over_kept_vectors_answers_as_the_whole_model_does(tmp_path: Path, family: str) -> None:
    model = save_classifier(tmp_path, family)
    tokens = tokenise(tmp_path, TEXTS, 16)
    whole = probabilities(WholeModel(model, tokens), range(len(TEXTS)))
    head = probabilities(HeadOnly(model, tokens), range(len(TEXTS)))
    assert abs(whole - head).max() < 1e-6


def test_the_word_tables_do_not_learn(tmp_path: Path) -> None:
    model = save_classifier(tmp_path, "bert")
    before = [table.weight.clone() for table in embedding_tables(model)]
    learner = WholeModel(model, tokenise(tmp_path, TEXTS, 16))
    fit(learner, Task(range(5), [5], [0, 1, 2, 0, 1, 2], ("a", "b", "c")), settings(2), lambda _: None)
    assert len(before) == 3
    assert all(
        torch.equal(one, table.weight) for one, table in zip(before, embedding_tables(model), strict=True)
    )
