"""POST /v1/predict and /v1/route: JSON in, JSON out."""

import asyncio
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from fastserve.errors import BackendError, BackendTimeout
from fastserve.router.answers import Answer, Refusal, json_answer
from fastserve.router.asking import Ask, Asking, RowAnswer, decision_of
from fastserve.router.caller import caller_at_door
from fastserve.router.oip import MAX_DIGITS, check_text
from fastserve.router.pool import Pool
from fastserve.router.protocol import Request
from fastserve.router.replicas import MemberOutput
from fastserve.router.selection import Choice, Standing, reason_of
from fastserve.router.wire import (
    MAX_DEADLINE_MILLIS,
    MAX_TOP_K,
    MemberAnswer,
    MemberExplained,
    PredictAnswer,
    PredictRequest,
    Reader,
    RouteAnswer,
)

DEADLINE_HEADER = b"x-fastserve-deadline-millis"
WOKEN_HEADER = "x-fastserve-woken"
_reader = Reader(PredictRequest)


def read_ask(request: Request, request_id: str, pool: Pool) -> Ask:
    """The body of a /v1 call, checked. Raises Refusal."""
    body: PredictRequest = _reader.read(request.body)
    check_text(body.text.encode())
    if body.top_k is not None and not 1 <= body.top_k <= MAX_TOP_K:
        raise Refusal("OutOfRange", f"topK is {body.top_k} (allowed: 1 to {MAX_TOP_K})")
    if body.sub_model is not None:
        pool.member(body.sub_model)
    deadline = deadline_of(request, body.deadline_millis, pool)
    caller = caller_at_door(request.headers, pool.tenant_header, request.holder)
    return Ask((body.text,), deadline, request_id, caller, body.top_k, body.sub_model)


def deadline_of(request: Request, millis: int | None, pool: Pool) -> float:
    """Until when to answer, in the loop's time: the body's word, the header's, the pool's."""
    header = request.headers.get(DEADLINE_HEADER)
    if millis is None and header is not None:
        if not header.isdigit():
            text = header.decode("latin-1")
            raise Refusal("OutOfRange", f"{DEADLINE_HEADER.decode()} is {text!r} (allowed: {_ALLOWED})")
        millis = int(header if len(header) <= MAX_DIGITS else header[:MAX_DIGITS])
    if millis is None:
        millis = pool.table().table.deadline_millis
    elif not 1 <= millis <= MAX_DEADLINE_MILLIS:
        raise Refusal("OutOfRange", f"the deadline is {millis} milliseconds (allowed: {_ALLOWED})")
    return asyncio.get_running_loop().time() + millis / 1000.0


_ALLOWED = f"1 to {MAX_DEADLINE_MILLIS}"


async def predict(asking: Asking, pool: Pool, ask: Ask) -> Answer:
    """One text's answer as JSON, with the decision in the headers too."""
    row = (await asking.answer(ask))[0]
    combined = row.combined
    members = tuple(_member(row, name) for name in row.choice.weights)
    answer = PredictAnswer(
        request_id=ask.request_id,
        decision=row.decision,
        members=members,
        confidence=round(row.choice.confidence, 6),
        coverage=round(combined.coverage, 6),
        degraded=degraded(row),
        **_result(row),
    )
    return json_answer(answer, decision_headers([row], pool))


async def explain(asking: Asking, pool: Pool, ask: Ask) -> Answer:
    """What would be asked, and why; runs nothing."""
    choice, rules = await asking.explain(ask.texts[0], ask), asking.rules(ask)
    members = tuple(
        _explained(one, choice, reason_of(one, choice, rules, pool.unselectable)) for one in choice.standings
    )
    answer = RouteAnswer(
        request_id=ask.request_id,
        decision=decision_of(choice, ask),
        threshold=rules.min_score,
        confidence=round(choice.confidence, 6),
        because=choice.because,
        members=members,
    )
    return json_answer(answer)


def degraded(row: RowAnswer) -> bool:
    return len(row.combined.weights) < len(row.choice.weights)


@lru_cache(maxsize=256)
def direct_headers(pool: str, member: str, *, woken: bool = False) -> tuple[tuple[str, str], ...]:
    """As decision_headers, where one sub-model was named: it is all that was asked, and it answered."""
    headers = (
        ("x-fastserve-pool", pool),
        ("x-fastserve-submodels", member),
        ("x-fastserve-decision", "Direct"),
        ("x-fastserve-confidence", "1.0000"),
        ("x-fastserve-coverage", "1.0000"),
    )
    return (*headers, (WOKEN_HEADER, member)) if woken else headers


def decision_headers(rows: list[RowAnswer], pool: Pool) -> tuple[tuple[str, str], ...]:
    """The x-fastserve-* headers: names over all rows, and the least sure row's figures."""
    names = dict.fromkeys(name for row in rows for name in row.choice.weights)
    fallback = next((row.decision for row in rows if row.decision == "Fallback"), rows[0].decision)
    headers = [
        ("x-fastserve-pool", pool.name),
        ("x-fastserve-submodels", ",".join(names)),
        ("x-fastserve-decision", fallback),
        ("x-fastserve-confidence", f"{min(row.choice.confidence for row in rows):.4f}"),
        ("x-fastserve-coverage", f"{min(row.combined.coverage for row in rows):.4f}"),
    ]
    if any(degraded(row) for row in rows):
        headers.append(("x-fastserve-degraded", "true"))
    woken = [name for name in names if any(_woken(row, name) for row in rows)]
    if woken:
        headers.append((WOKEN_HEADER, ",".join(woken)))
    return tuple(headers)


def _woken(row: RowAnswer, name: str) -> bool:
    output = row.outputs.get(name)
    return isinstance(output, MemberOutput) and output.woken


def _result(row: RowAnswer) -> dict[str, Any]:
    values = np.round(row.combined.scores, 6).tolist()
    if not row.combined.labels:
        return {"embedding": tuple(values)}
    top = int(row.combined.scores.argmax())
    labels = row.combined.labels
    return {"label": labels[top], "score": values[top], "scores": dict(zip(labels, values, strict=True))}


def _member(row: RowAnswer, name: str) -> MemberAnswer:
    output = row.outputs[name]
    similarity = next((one.similarity for one in row.choice.standings if one.name == name), None) or 0.0
    if isinstance(output, BackendError):
        status: Literal["late", "failed"] = "late" if isinstance(output, BackendTimeout) else "failed"
        return MemberAnswer(name, 0.0, round(similarity, 6), status, error=str(output))
    if name not in row.combined.weights:
        return MemberAnswer(name, 0.0, round(similarity, 6), "failed", error="the answer has another size")
    weight = round(row.combined.weights[name], 6)
    if not output.labels:
        return MemberAnswer(name, weight, round(similarity, 6), "answered", version=output.version)
    scores = output.scores[row.place[name]]
    top = int(scores.argmax())
    label, score = output.labels[top], round(float(scores[top]), 6)
    return MemberAnswer(name, weight, round(similarity, 6), "answered", label, score, output.version)


def _explained(one: Standing, choice: Choice, because: str) -> MemberExplained:
    similarity = None if one.similarity is None else round(one.similarity, 6)
    return MemberExplained(
        name=one.name,
        similarity=similarity,
        belief=round(one.belief, 6),
        ready=one.ready,
        chosen=one.name in choice.weights,
        weight=round(choice.weights.get(one.name, 0.0), 6),
        because=because,
    )
