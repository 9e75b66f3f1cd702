"""From texts to combined answers: encode, select, fan out, combine. Rows of one request are chosen each by
itself and travel together where they go to the same sub-model."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from fastserve.api.modelpool import Method
from fastserve.errors import (
    BackendError,
    BackendUnavailable,
)
from fastserve.router.answers import Refusal, refusal_of
from fastserve.router.caller import Caller
from fastserve.router.calling import Calling, FirstAnswer, Missed
from fastserve.router.combination import Arrived, Combined, combine
from fastserve.router.encoder import BATCH, EncoderService
from fastserve.router.metrics import Metrics
from fastserve.router.pool import Pool
from fastserve.router.refusing import Outputs, no_choice, too_few
from fastserve.router.replicas import MemberCall, MemberOutput
from fastserve.router.retrying import Fate
from fastserve.router.selection import Choice, Outcome, Rules, Standing, select
from fastserve.router.tracing import current
from fastserve.router.wire import Decision

MOST_OF_IT = 0.5


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked: texts, until when (the loop's time), and how to choose."""

    texts: tuple[str, ...]
    deadline: float
    request_id: str
    caller: Caller
    top_k: int | None = None
    direct: str | None = None
    fate: Fate = field(default_factory=Fate)


@dataclass(frozen=True, slots=True, eq=False)
class RowAnswer:
    """One text's answer. `outputs` has what each chosen sub-model said, `place` the row in it."""

    choice: Choice
    decision: Decision
    combined: Combined
    outputs: Outputs
    place: Mapping[str, int]


class Asking:
    """The way of a request through the pool."""

    def __init__(self, pool: Pool, encoder: EncoderService, metrics: Metrics) -> None:
        self._pool = pool
        self._encoder = encoder
        self._metrics = metrics
        self._calling = Calling(pool, metrics)

    async def answer(self, ask: Ask) -> list[RowAnswer]:
        """An answer per text. Raises Refusal with the first text's reason that has none."""
        choices = await self._choose_all(ask)
        try:
            return await self._ask(ask, choices)
        except BackendUnavailable as error:
            # Whoever was asked is known to be gone now: choose once more among the others.
            if not self._calling.may_choose_again(self._calls(ask, _rows_of(choices))):
                raise refusal_of(error) from error
            choices = await self._choose_all(ask)
            if ask.fate.died and len(_rows_of(choices)) > 1:
                raise refusal_of(error) from error  # once more is not of several
        try:
            return await self._ask(ask, choices)
        except BackendUnavailable as error:
            raise refusal_of(error) from error

    async def direct(self, call: MemberCall) -> MemberOutput:
        """What the one sub-model says that was named: nothing to choose, to combine or to leave out. Asked
        again as often as `answer` asks. Raises Refusal, BackendError."""
        try:
            return await self._named(call)
        except BackendUnavailable as error:
            if not self._calling.may_choose_again([call]):
                raise refusal_of(error) from error
        try:
            return await self._named(call)
        except BackendUnavailable as error:
            raise refusal_of(error) from error

    async def _named(self, call: MemberCall) -> MemberOutput:
        name = call.member
        if not self._pool.is_ready(name) and not self._pool.sleeps(name):
            raise no_choice(self._direct(name), self._pool.table().rules)
        self._metrics.selections(name, "Direct").inc(len(call.texts))
        start = perf_counter()
        said = await self._calling.call(call)
        if isinstance(said, Missed):
            said = await self._calling.once_more(said, call)
        if isinstance(said, Missed):
            raise too_few({name: said.error}, 0)
        self._metrics.first_answer.observe(perf_counter() - start)
        if said.labels and len(said.labels) != said.scores.shape[1]:
            raise BackendError(f"{name} gave {said.scores.shape[1]} scores for {len(said.labels)} labels")
        return said

    async def _choose_all(self, ask: Ask) -> list[Choice]:
        """Whom to ask for each text."""
        if ask.direct is not None:
            return await self._choose_in_batches(ask)
        with current().part("select") as step:
            choices = await self._choose_in_batches(ask)
            if step.recording:
                step.note("fastserve.texts", len(ask.texts))
                step.note("fastserve.submodels", list({name: 0 for one in choices for name in one.weights}))
        return choices

    async def _choose_in_batches(self, ask: Ask) -> list[Choice]:
        """As many at once as the encoder takes in one batch, so that one caller does not fill its queue."""
        if len(ask.texts) == 1:
            return [await self._choose(ask.texts[0], ask)]
        choices: list[Choice] = []
        for start in range(0, len(ask.texts), BATCH):
            texts = ask.texts[start : start + BATCH]
            choices += await asyncio.gather(*(self._choose(text, ask) for text in texts))
        return choices

    async def _choose(self, text: str, ask: Ask) -> Choice:
        """Whom to ask for a text. Raises Refusal where nobody can be asked."""
        choice = await self.explain(text, ask)
        if not choice.weights:
            raise no_choice(choice, self.rules(ask))
        for name in choice.weights:
            self._metrics.selections(name, decision_of(choice, ask)).inc()
        return choice

    async def explain(self, text: str, ask: Ask) -> Choice:
        """The choice for a text, also where it is to ask nobody."""
        if ask.direct is not None:
            return self._direct(ask.direct)
        snapshot = self._pool.table()
        max_tokens = snapshot.table.selection.max_tokens
        vector = self._encoder.cached(text, max_tokens)
        if vector is None:
            try:
                async with asyncio.timeout_at(ask.deadline):
                    vector = await self._encoder.vector(text, max_tokens)
            except TimeoutError as error:
                raise Refusal("DeadlineExceeded", "the deadline passed while the text was encoded") from error
        start = perf_counter()
        similarities = self._pool.prototypes.similarities(vector)
        known = {name: value for name, value in similarities.items() if name in snapshot.members}
        choice = select(snapshot.names, known, self._pool.ready(), self.rules(ask), self._pool.asleep())
        self._metrics.selecting.observe(perf_counter() - start)
        return choice

    def rules(self, ask: Ask) -> Rules:
        """The pool's rules with what the caller changed."""
        rules = self._pool.table().rules
        if ask.top_k is None:
            return rules
        return replace(rules, top_k=ask.top_k)

    def _direct(self, name: str) -> Choice:
        self._pool.member(name)
        standing = Standing(name, None, 1.0, self._pool.is_ready(name), self._pool.sleeps(name))
        if not standing.able:
            return Choice(Outcome.MEMBER_UNAVAILABLE, {}, (standing,), 1.0, f"{name} is not ready")
        because = f"{name} was named by the caller" + ("" if standing.ready else ", sleeps and is woken")
        return Choice(Outcome.SELECTED, {name: 1.0}, (standing,), 1.0, because)

    async def _ask(self, ask: Ask, choices: Sequence[Choice]) -> list[RowAnswer]:
        rows = _rows_of(choices)
        outputs = await self._fan_out(ask, choices, rows)
        places = {name: {row: at for at, row in enumerate(indices)} for name, indices in rows.items()}
        return [
            self._combine(ask, choice, outputs, {name: places[name][index] for name in choice.weights})
            for index, choice in enumerate(choices)
        ]

    async def _fan_out(
        self, ask: Ask, choices: Sequence[Choice], rows: Mapping[str, Sequence[int]]
    ) -> Outputs:
        """Ask all at once, and once more what most of an answer hangs on. Every call ends at the deadline at
        the latest, so nothing else bounds them."""
        calls, first = self._calls(ask, rows), FirstAnswer(self._metrics)
        said = await self._call_all(calls, first)
        if any(isinstance(one, Missed) for one in said.values()):
            tops = {top_missing(choice.weights, said) for choice in choices}
            await self._once_more(said, [call for call in calls if call.member in tops], first)
        return {name: one.error if isinstance(one, Missed) else one for name, one in said.items()}

    def _calls(self, ask: Ask, rows: Mapping[str, Sequence[int]]) -> list[MemberCall]:
        texts = [text.encode() for text in ask.texts]
        names = self._pool.table().outputs
        return [
            MemberCall(
                name,
                tuple([texts[i] for i in indices]),
                ask.deadline,
                ask.request_id,
                names,
                ask.caller,
                ask.fate,
            )
            for name, indices in rows.items()
        ]

    async def _call_all(
        self, calls: Sequence[MemberCall], first: FirstAnswer
    ) -> dict[str, MemberOutput | Missed]:
        if len(calls) == 1:
            return {calls[0].member: first.heard(await self._calling.call(calls[0]))}
        answers = await asyncio.gather(*(self._call(call, first) for call in calls))
        return {call.member: answer for call, answer in zip(calls, answers, strict=True)}

    async def _call(self, call: MemberCall, first: FirstAnswer) -> MemberOutput | Missed:
        return first.heard(await self._calling.call(call))

    async def _once_more(
        self, said: dict[str, MemberOutput | Missed], calls: Sequence[MemberCall], first: FirstAnswer
    ) -> None:
        for call in calls:
            missed = said[call.member]
            if isinstance(missed, Missed):
                said[call.member] = first.heard(await self._calling.once_more(missed, call))

    def _combine(self, ask: Ask, choice: Choice, outputs: Outputs, place: Mapping[str, int]) -> RowAnswer:
        table = self._pool.table().table
        said = {name: outputs[name] for name in choice.weights}
        arrived = _arrived(choice, said, place)
        if len(arrived) < min(table.min_members, len(said)) or not arrived:
            raise too_few(said, len(arrived))
        # One that was named answers for itself: its own scores, whatever the pool would make of them.
        method = table.method if ask.direct is None else Method.BEST
        return RowAnswer(choice, decision_of(choice, ask), combine(method, arrived), said, place)


def _rows_of(choices: Sequence[Choice]) -> dict[str, list[int]]:
    """The texts that go to each sub-model."""
    rows: dict[str, list[int]] = {}
    for index, choice in enumerate(choices):
        for name in choice.weights:
            rows.setdefault(name, []).append(index)
    return rows


def top_missing(weights: Mapping[str, float], said: Mapping[str, MemberOutput | Missed]) -> str | None:
    """Of those that did not answer the one with the most weight, where together they have most of it."""
    missing = {name: weight for name, weight in weights.items() if isinstance(said[name], Missed)}
    if sum(missing.values()) <= MOST_OF_IT * sum(weights.values()):
        return None
    return max(missing, key=lambda name: missing[name])


def _arrived(choice: Choice, said: Outputs, place: Mapping[str, int]) -> list[Arrived]:
    arrived: list[Arrived] = []
    for name, output in said.items():
        if isinstance(output, BackendError):
            continue
        scores = output.scores[place[name]]
        if output.labels or not arrived or len(arrived[0].scores) == len(scores):
            arrived.append(Arrived(name, choice.weights[name], output.labels, scores))
    return arrived


def decision_of(choice: Choice, ask: Ask) -> Decision:
    if ask.direct is not None and choice.weights:
        return "Direct"
    decisions: dict[Outcome, Decision] = {Outcome.SELECTED: "Selected", Outcome.FALLBACK: "Fallback"}
    return decisions.get(choice.outcome, "Rejected")
