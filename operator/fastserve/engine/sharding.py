"""Layers that hold one rank's part of a matrix, and the sum over the ranks that completes them.

Plain tensors and one all-reduce, not torch's DTensor and its `parallelize_module`: DTensor's dispatch costs
several times the arithmetic of a short text (bench/results/tensor_parallel.json, `dtensor`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed import all_reduce


@dataclass(frozen=True)
class Group:
    """The ranks that hold one model together; this one is number `rank` of `size`."""

    rank: int = 0
    size: int = 1

    def sum(self, partial: Tensor) -> Tensor:
        """Add up `partial` over the ranks, in place. Every rank must come here with the same shape."""
        all_reduce(partial)
        return partial


@dataclass(frozen=True)
class Span:
    """The part [start, stop) of dimension `dim`, which has `whole` rows, that a rank holds."""

    dim: int
    start: int
    stop: int
    whole: int

    @property
    def size(self) -> int:
        return self.stop - self.start


def span_of(size: int, dim: int, group: Group) -> Span:
    """This rank's part of `size` rows: parts differ by one row at most, and the first ones are larger."""
    each, more = divmod(size, group.size)
    start = group.rank * each + min(group.rank, more)
    return Span(dim, start, start + each + (group.rank < more), size)


class RowLinear(nn.Module):
    """``y = sum over ranks of x_r W_r^T, + b``: holds columns of W, takes that part of x, [..., in/N]."""

    def __init__(self, whole: nn.Linear, group: Group) -> None:
        super().__init__()
        self.group = group
        self.columns = span_of(whole.in_features, 1, group)
        shape = (whole.out_features, self.columns.size)
        self.weight = nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)
        self.bias = whole.bias

    def forward(self, part: Tensor) -> Tensor:
        total = self.group.sum(nn.functional.linear(part, self.weight))
        # After the sum: a bias on every rank would count N times.
        return total if self.bias is None else total.add_(self.bias)


class TableShard(nn.Module):
    """Rows [start, stop) of an embedding table: indices [...] to vectors [..., width], zero for every row
    that another rank holds. The sum over the ranks is left to the layer that reads it."""

    def __init__(self, whole: nn.Embedding, group: Group) -> None:
        super().__init__()
        self.rows = span_of(whole.num_embeddings, 0, group)
        shape = (self.rows.size, whole.embedding_dim)
        self.weight = nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False)

    def forward(self, indices: Tensor) -> Tensor:
        if self.rows.size == 0:
            return self.weight.new_zeros((*indices.shape, self.weight.shape[1]))
        local = indices - self.rows.start
        elsewhere = (local < 0) | (local >= self.rows.size)
        found = nn.functional.embedding(local.masked_fill(elsewhere, 0), self.weight)
        return found.masked_fill_(elsewhere.unsqueeze(-1), 0.0)


def column_linear(whole: nn.Linear, group: Group) -> nn.Linear:
    """A linear layer with this rank's outputs only, bias included; it needs no sum. On the meta device."""
    rows = span_of(whole.out_features, 0, group)
    return nn.Linear(whole.in_features, rows.size, bias=whole.bias is not None, device="meta")


def sum_input(layer: nn.Module, group: Group) -> None:
    """Let `layer` complete the partial sums that it is given before it works on them."""

    def complete(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (group.sum(inputs[0]), *inputs[1:])

    layer.register_forward_pre_hook(complete)
