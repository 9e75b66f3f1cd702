"""Which sub-models answer a text. Pure: values in, a Choice out.

Method: nearest prototypes by cosine similarity, cut by belief. With unit vectors and P_m the prototypes
of sub-model m,

    sim_m    = max over c in P_m of c · e
    belief_m = softmax(sim / 0.04)_m              over all sub-models with prototypes (calibrated)
    weight_m = softmax(sim / 0.2)_m               over the chosen ones (mixes best)

Filter what is ready → score → keep the top k → drop those far behind (belief < 0.05 of the greatest, so
that one answers alone where its belief is over 0.953) → nobody below minScore. The
temperatures and cuts are those that did best on CLINC150 with ten specialists and 15 prototypes each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import exp

import numpy as np
import numpy.typing as npt

from fastserve.api.modelpool import Policy

Vector = npt.NDArray[np.float32]
BELIEF_TEMPERATURE = 0.04
MIXING_TEMPERATURE = 0.2
FAR_BEHIND = 0.05
"""Share of the greatest belief below which a sub-model is not asked."""


class Outcome(StrEnum):
    SELECTED = "Selected"
    FALLBACK = "Fallback"
    NO_MATCH = "NoMatch"
    MEMBER_UNAVAILABLE = "MemberUnavailable"
    NO_MEMBER_READY = "NoMemberReady"


@dataclass(frozen=True, slots=True)
class Rules:
    """The pool's settings as numbers."""

    top_k: int
    min_score: float
    policy: Policy
    fallback: str | None = None
    awake_margin: float = 0.0
    """How much less similar one that is awake may be, to be asked instead of one that sleeps."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How one sub-model stands to the text; `similarity` is None without prototypes."""

    name: str
    similarity: float | None
    belief: float
    ready: bool
    asleep: bool = False
    """Whether it is woken where it is asked."""

    @property
    def able(self) -> bool:
        """Whether it can be asked."""
        return self.ready or self.asleep


@dataclass(frozen=True, slots=True)
class Choice:
    """The decision with everything that led to it. `weights` are in the order of choice and sum to 1."""

    outcome: Outcome
    weights: Mapping[str, float]
    standings: tuple[Standing, ...]
    confidence: float
    because: str


@dataclass(frozen=True)
class Prototypes:
    """All prototypes of a pool in one matrix.

    `matrix` is float32 [p, d] with unit rows, sorted by sub-model; `starts` has each sub-model's first row.
    """

    names: tuple[str, ...]
    matrix: Vector
    starts: npt.NDArray[np.intp] = field(repr=False)

    @staticmethod
    def of(by_name: Mapping[str, Vector]) -> "Prototypes":
        counts = [len(rows) for rows in by_name.values()]
        starts = np.cumsum([0, *counts[:-1]], dtype=np.intp)
        matrix = np.concatenate(list(by_name.values())) if counts else np.zeros((0, 0), np.float32)
        return Prototypes(tuple(by_name), np.ascontiguousarray(matrix, np.float32), starts[: len(counts)])

    def counts(self) -> dict[str, int]:
        """Prototypes per sub-model."""
        ends = [*self.starts[1:].tolist(), len(self.matrix)]
        spans = zip(self.names, self.starts.tolist(), ends, strict=True) if self.names else ()
        return {name: end - start for name, start, end in spans}

    def similarities(self, vector: Vector) -> dict[str, float]:
        """Greatest cosine similarity per sub-model. `vector` is float32 [d], of unit length."""
        if not self.names:
            return {}
        nearest = np.maximum.reduceat(self.matrix @ vector, self.starts)
        return dict(zip(self.names, nearest.tolist(), strict=True))


def softmax(values: Sequence[float], temperature: float) -> list[float]:
    """Softmax of values / temperature, without overflow."""
    top = max(values)
    powers = [exp((value - top) / temperature) for value in values]
    total = sum(powers)
    return [power / total for power in powers]


def select(
    members: Sequence[str],
    similarities: Mapping[str, float],
    ready: frozenset[str],
    rules: Rules,
    asleep: frozenset[str] = frozenset(),
) -> Choice:
    """Choose among `members`, given their similarities to a text, and which of them are ready, or asleep."""
    beliefs = _beliefs(similarities)
    standings = tuple(
        Standing(name, similarities.get(name), beliefs.get(name, 0.0), name in ready, name in asleep)
        for name in members
    )
    able = [one for one in standings if one.able and one.similarity is not None]
    near = sorted(
        (one for one in able if (one.similarity or 0.0) >= rules.min_score),
        key=lambda one: (-(one.similarity or 0.0), one.name),
    )
    left = _without_sleepers(near, rules) if asleep else near
    if left:
        weights = _weigh(left, rules)
        because = _why(left, weights, rules)
        if left[0] is not near[0]:
            because += f"; {near[0].name} ({near[0].similarity:.3f}) sleeps"
        return Choice(Outcome.SELECTED, weights, standings, left[0].belief, because)
    return _nobody(standings, rules)


def _without_sleepers(near: Sequence[Standing], rules: Rules) -> list[Standing]:
    """Only the nearest is woken, where no awake one is near enough in its place: an answer that could be had
    at once does not wait for what would only be added to it."""
    left = [one for one in near if _instead_of(one, near, rules) is None]
    return [one for one in left if one.ready or one is left[0]]


def _instead_of(one: Standing, others: Sequence[Standing], rules: Rules) -> Standing | None:
    """The nearest that is awake, where that is hardly less similar than one that sleeps."""
    if one.ready or not one.asleep or rules.awake_margin <= 0.0:
        return None
    awake = [other for other in others if other.ready and other.similarity is not None]
    nearest = max(awake, key=lambda other: other.similarity or 0.0, default=None)
    least = max((one.similarity or 0.0) - rules.awake_margin, rules.min_score)
    return nearest if nearest is not None and (nearest.similarity or 0.0) >= least else None


def reason_of(one: Standing, choice: Choice, rules: Rules, unselectable: Mapping[str, str]) -> str:
    """Why this one is asked, or is not. `unselectable` says why one has no prototypes."""
    if one.name in choice.weights and choice.outcome is Outcome.FALLBACK:
        return f"the fallback: no other reaches minScore {rules.min_score:.2f}"
    if one.name in choice.weights and one.similarity is None:
        return choice.because
    return _unfit(one, rules, unselectable) or _beside_the_top(one, choice, rules)


def _unfit(one: Standing, rules: Rules, unselectable: Mapping[str, str]) -> str:
    """Why one cannot be chosen at all; empty where it can."""
    if not one.able:
        return "not ready"
    if one.similarity is None:
        return unselectable.get(one.name, "its prototypes are not there yet")
    if one.similarity < rules.min_score:
        return f"similarity {one.similarity:.3f} is below minScore {rules.min_score:.2f}"
    return ""


def _beside_the_top(one: Standing, choice: Choice, rules: Rules) -> str:
    name = next(iter(choice.weights))
    top = next(other for other in choice.standings if other.name == name)
    if one is top:
        state = "ready" if one.ready else "ready or asleep"
        return f"the nearest that is {state}: similarity {one.similarity:.3f}, belief {one.belief:.3f}"
    awake = _instead_of(one, choice.standings, rules)
    if awake is not None:
        return f"it sleeps, and {awake.name} is awake and near enough (awakeMargin {rules.awake_margin:g})"
    if one.asleep and not one.ready:
        return "it sleeps, and only the nearest is woken"
    near = one.belief >= FAR_BEHIND * top.belief
    if one.name in choice.weights or not near:
        word = "at least" if near else "below"
        return f"belief {one.belief:.3f} is {word} {FAR_BEHIND:g} of {top.name}'s {top.belief:.3f}"
    if rules.policy is Policy.BEST:
        return f"the policy Best asks {top.name} alone"
    return f"{rules.top_k} nearer ones are asked (topK)"


def _beliefs(similarities: Mapping[str, float]) -> dict[str, float]:
    if not similarities:
        return {}
    values = softmax(list(similarities.values()), BELIEF_TEMPERATURE)
    return dict(zip(similarities, values, strict=True))


def _weigh(near: Sequence[Standing], rules: Rules) -> dict[str, float]:
    """Weights of those chosen among `near`, which is sorted by nearness."""
    top = near[0]
    wanted = 1 if rules.policy is Policy.BEST else rules.top_k
    chosen = [one for one in near[:wanted] if one.belief >= FAR_BEHIND * top.belief]
    if rules.policy is Policy.UNIFORM:
        return {one.name: 1.0 / len(chosen) for one in chosen}
    mixed = softmax([one.similarity or 0.0 for one in chosen], MIXING_TEMPERATURE)
    return {one.name: weight for one, weight in zip(chosen, mixed, strict=True)}


def _why(near: Sequence[Standing], weights: Mapping[str, float], rules: Rules) -> str:
    top = near[0]
    woken = "" if top.ready else ", sleeps and is woken"
    text = f"{top.name} is nearest ({top.similarity:.3f}, belief {top.belief:.2f}){woken}"
    if len(weights) > 1:
        return f"{text}; {len(weights)} of at most {rules.top_k} are near enough to be asked"
    if rules.policy is Policy.BEST:
        return f"{text}; the policy Best asks one"
    return f"{text}; no other is near enough to be asked"


def _nobody(standings: tuple[Standing, ...], rules: Rules) -> Choice:
    """Nobody ready is near enough: the fallback, or the truthful reason."""
    scored = [one for one in standings if one.similarity is not None]
    best = max(scored, key=lambda one: one.similarity or 0.0, default=None)
    if best is not None and (best.similarity or 0.0) >= rules.min_score:
        because = f"{best.name} is nearest ({best.similarity:.3f}) and not ready"
        unable = Choice(Outcome.MEMBER_UNAVAILABLE, {}, standings, best.belief, because)
    else:
        nearest = f"the nearest is {best.name} with {best.similarity:.3f}" if best else "none has prototypes"
        because = f"no sub-model reaches minScore {rules.min_score:.2f}; {nearest}"
        unable = Choice(Outcome.NO_MATCH, {}, standings, best.belief if best else 0.0, because)
    if not any(one.able for one in standings):
        return Choice(Outcome.NO_MEMBER_READY, {}, standings, 0.0, "no sub-model of the pool is ready")
    fallback = next((one for one in standings if one.name == rules.fallback), None)
    if unable.outcome is Outcome.NO_MATCH and fallback is not None:
        if fallback.able:
            weights = {fallback.name: 1.0}
            text = f"{because}; the fallback {fallback.name} is asked"
            return Choice(Outcome.FALLBACK, weights, standings, fallback.belief, text)
        text = f"{because}; the fallback {fallback.name} is not ready"
        return Choice(Outcome.MEMBER_UNAVAILABLE, {}, standings, 0.0, text)
    return unable
