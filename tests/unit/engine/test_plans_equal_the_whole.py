"""Cut models against the undivided ones. The ranks are threads here, joined by a sum in memory, so that
every family, task and degree is cheap to try; real processes and gloo are tried in tests/wiring/engine."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

import engine_checkpoints as checkpoints
from fastserve.api.families import FAMILY_SHAPES
from fastserve.engine.plans import PLANS
from fastserve.engine.runners import Load, Runner, load_runner
from fastserve.engine.sharding import Group, span_of
from fastserve.engine.tokens import TextTokenizer

FAMILIES = tuple(PLANS)


class Meeting:
    """Where the ranks bring their partial sums."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size, timeout=30)
        self.partials: list[Tensor | None] = [None] * size
        self.sums = 0


@dataclass(frozen=True)
class ThreadGroup(Group):
    meeting: Meeting | None = None

    def sum(self, partial: Tensor) -> Tensor:
        assert self.meeting is not None
        self.meeting.partials[self.rank] = partial.clone()
        self.meeting.barrier.wait()
        total = torch.stack([p for p in self.meeting.partials if p is not None]).sum(dim=0)
        self.meeting.barrier.wait()
        if self.rank == 0:
            self.meeting.sums += 1
        return partial.copy_(total)


@dataclass
class CutModel:
    """All ranks of one model, in threads."""

    ranks: list[Runner]
    read: list[int]
    meeting: Meeting

    @staticmethod
    def load(folder: Path, task: str, size: int) -> "CutModel":
        meeting = Meeting(size)
        ranks, read = [], []
        for rank in range(size):
            progress: list[tuple[int, int]] = []
            load = Load(folder, ThreadGroup(rank, size, meeting), "cpu")
            ranks.append(load_runner(task, load, lambda done, total, p=progress: p.append((done, total))))
            assert progress[-1][0] == progress[-1][1] > 0
            read.append(progress[-1][0])
        return CutModel(ranks, read, meeting)

    def run(self, texts: Sequence[str]) -> list[NDArray[np.float32]]:
        answers: dict[int, NDArray[np.float32]] = {}

        def one(number: int) -> None:
            answers[number] = self.ranks[number].run(texts)

        threads = [threading.Thread(target=one, args=(n,)) for n in range(len(self.ranks))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return [answers[number] for number in range(len(self.ranks))]


def one_by_one(
    folder: Path, model: torch.nn.Module, answer: Callable[[object], Tensor]
) -> NDArray[np.float32]:
    """What the undivided transformers model says to each text alone, without padding."""
    tokenizer = TextTokenizer(folder, 32, 0)
    with torch.inference_mode():
        rows = [answer(model(torch.tensor([ids])))[0] for ids in tokenizer.encode(checkpoints.TEXTS)]
    return torch.stack(rows).numpy()


@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_classifier_gives_the_undivided_ones_probabilities(
    tmp_path: Path, family: str, degree: int
) -> None:
    whole = checkpoints.save_classifier(tmp_path, family)
    expected = one_by_one(tmp_path, whole, lambda output: output.logits.softmax(-1))
    cut = CutModel.load(tmp_path, "TextClassification", degree)
    for scores in cut.run(checkpoints.TEXTS):
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5)
    assert cut.ranks[0].labels == ("negative", "neutral", "positive")


@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_cut_encoder_gives_the_undivided_ones_vectors(tmp_path: Path, family: str, degree: int) -> None:
    whole = checkpoints.save_encoder(tmp_path, family)

    def mean_of(output: object) -> Tensor:
        return torch.nn.functional.normalize(output.last_hidden_state.mean(dim=1), dim=-1)

    expected = one_by_one(tmp_path, whole, mean_of)
    cut = CutModel.load(tmp_path, "Embedding", degree)
    for vectors in cut.run(checkpoints.TEXTS):
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    assert (cut.ranks[0].labels, cut.ranks[0].width) == ((), 32)


@pytest.mark.parametrize("degree", [2, 4])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_rank_holds_and_reads_its_part_only(tmp_path: Path, family: str, degree: int) -> None:
    whole = checkpoints.save_classifier(tmp_path, family)
    parameters = sum(p.numel() * 4 for p in whole.parameters())
    kept_whole = sum(
        parameter.numel() * 4
        for name, parameter in whole.named_parameters()
        if "orm." in name or (parameter.dim() == 1 and ("out" in name or "lin2" in name or "class" in name))
    )
    cut = CutModel.load(tmp_path, "TextClassification", degree)
    for runner, read in zip(cut.ranks, cut.read, strict=True):
        assert runner.parameter_bytes == read
        assert read <= 1.05 * parameters / degree + kept_whole
    assert sum(cut.read) <= parameters + (degree - 1) * kept_whole


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pass_takes_two_sums_a_layer_one_for_the_embeddings_and_one_for_the_head(
    tmp_path: Path, family: str
) -> None:
    checkpoints.save_classifier(tmp_path, family)
    cut = CutModel.load(tmp_path, "TextClassification", 2)
    cut.run(["w5 w6"])
    assert cut.meeting.sums == 2 * 2 + 2


@pytest.mark.parametrize(("size", "parts"), [(97, 4), (2, 4), (1, 2), (8, 2), (30522, 3)])
def test_parts_of_a_table_are_even_and_leave_nothing_out(size: int, parts: int) -> None:
    spans = [span_of(size, 0, Group(rank, parts)) for rank in range(parts)]
    assert (spans[0].start, spans[-1].stop) == (0, size)
    assert all(left.stop == right.start for left, right in pairwise(spans))
    assert max(s.size for s in spans) - min(s.size for s in spans) <= 1


def test_every_family_that_the_plan_admits_can_be_cut() -> None:
    assert PLANS.keys() == FAMILY_SHAPES.keys()
