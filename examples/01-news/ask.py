"""Asks the pool every question of questions.jsonl and shows who answered, with what weight, and what.

    python examples/01-news/ask.py --url http://127.0.0.1:8080

Ends with code 1 where fewer than four of five answers are right.
"""

import argparse
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

QUESTIONS = Path(__file__).with_name("questions.jsonl")
ENOUGH = 0.8


@dataclass(frozen=True)
class Question:
    """`sub_model` is who should be asked first and `label` the right answer; both None: nobody knows."""

    text: str
    sub_model: str | None
    label: str | None


@dataclass(frozen=True)
class Reply:
    """What the pool said. `label` is None where it refused because nobody is near."""

    label: str | None
    score: float
    members: dict[str, float]
    """Weights by sub-model, the heaviest first."""


def questions() -> Iterator[Question]:
    for line in QUESTIONS.read_text("utf-8").splitlines():
        row = json.loads(line)
        yield Question(row["text"], row["subModel"], row["label"])


def ask(url: str, text: str) -> Reply:
    """POST /v1/predict. Raises HTTPError for every refusal but 422 NoMatch, and URLError."""
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(f"{url}/v1/predict", body, {"content-type": "application/json"})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 -- the url is the caller's
            return _reply(json.load(response))
    except urllib.error.HTTPError as error:
        if error.code == 422:
            return Reply(None, 0.0, {})
        raise


def _reply(answer: dict[str, Any]) -> Reply:
    members = sorted(answer["members"], key=lambda member: -member["weight"])
    weights = {member["name"]: member["weight"] for member in members}
    return Reply(answer["label"], answer["score"], weights)


def is_right(question: Question, reply: Reply) -> bool:
    return reply.label == question.label


def row_of(question: Question, reply: Reply) -> tuple[str, ...]:
    asked = ", ".join(f"{name} {weight:.2f}" for name, weight in reply.members.items())
    said = f"{reply.label} {reply.score:.2f}" if reply.label else "nobody knows"
    verdict = (
        "[green]right[/]" if is_right(question, reply) else f"[red]{question.label or 'nobody knows'}[/]"
    )
    return question.text, asked or "—", said, verdict


def summary(asked: list[tuple[Question, Reply]]) -> str:
    right = sum(is_right(question, reply) for question, reply in asked)
    known = [(question, reply) for question, reply in asked if question.sub_model]
    first = sum(next(iter(reply.members), None) == question.sub_model for question, reply in known)
    best = f"the right specialist came first {first} of {len(known)} times"
    return f"{right} of {len(asked)} answers right; {best}"


def main(console: Console) -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description="Ask the news pool every question.")
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="where the pool answers")
    url = parser.parse_args().url.rstrip("/")
    table = Table("question", "asked, with weight", "answer", "verdict", title="News desk")
    asked = []
    for question in questions():
        try:
            reply = ask(url, question.text)
        except OSError as error:
            console.print(f"{url} does not answer: {error}", style="red", markup=False)
            return 1
        asked.append((question, reply))
        table.add_row(*row_of(question, reply))
    console.print(table)
    console.print(summary(asked))
    right = sum(is_right(question, reply) for question, reply in asked)
    return 0 if right >= ENOUGH * len(asked) else 1


if __name__ == "__main__":
    sys.exit(main(Console()))
