"""Prototypes: how many, of what length, and whether they find the groups that are there."""

import numpy as np
import pytest

from fastserve.router.prototypes import how_many, prototypes_of


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("examples", "prototypes"), [(1, 1), (3, 3), (19, 19), (20, 1), (21, 2), (100, 5), (281, 15), (9999, 15)]
)
def test_so_many_examples_give_so_many_prototypes(examples: int, prototypes: int) -> None:
    assert how_many(examples) == prototypes
    assert len(prototypes_of(unit(np.random.default_rng(0).normal(size=(examples, 8))))) == prototypes


def test_few_examples_are_their_own_prototypes() -> None:
    rows = unit(np.random.default_rng(1).normal(size=(7, 16)))

    assert np.array_equal(prototypes_of(rows), rows)


def test_every_group_gets_a_prototype_of_unit_length_the_same_each_time() -> None:
    draw = np.random.default_rng(2)
    centres = np.eye(5, 32)
    rows = unit(np.concatenate([centre + draw.normal(scale=0.05, size=(20, 32)) for centre in centres]))

    found = prototypes_of(rows)

    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert (found @ centres.T.astype(np.float32)).max(axis=0).min() > 0.97
    assert np.array_equal(found, prototypes_of(rows))


def test_examples_that_are_all_alike_do_no_harm() -> None:
    rows = np.tile(unit(np.ones((1, 8))), (60, 1))

    found = prototypes_of(rows)

    assert np.isfinite(found).all()
    assert found[0] == pytest.approx(rows[0])


@pytest.mark.parametrize("seed", range(4))
def test_every_clump_of_examples_gets_a_prototype_where_one_run_alone_would_miss_some(seed: int) -> None:
    draw = np.random.default_rng(seed)
    centres = draw.normal(size=(15, 32))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    examples = np.repeat(centres, 20, axis=0) + draw.normal(size=(300, 32)) * 0.03
    vectors = (examples / np.linalg.norm(examples, axis=1, keepdims=True)).astype(np.float32)
    assert (vectors @ prototypes_of(vectors).T).max(axis=1).min() > 0.95
