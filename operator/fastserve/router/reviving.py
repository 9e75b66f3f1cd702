"""When the own Triton is to be started anew, because nothing else brings it back. Pure.

A dead engine is unloaded and loaded, and a dead Triton is started by whoever keeps it. What is left is what
does not end: a server that answers nothing, and an engine for which Triton's unload would wait for ever: a
frozen one, or a dead one that Triton still waits for an answer from.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from fastserve.router import loading
from fastserve.router.pulse import SHORTEST_SECONDS

LATE_SECONDS = 0.1
"""A look that ends by so much later than it was to says that this process stood still, and no more."""
LOOKS = 2
"""In a row without an answer, until it is frozen."""
UNSERVED_SECONDS = 10.0
"""The same where nothing served when the silence began: a machine that starts many at once is busy."""
ENGINE_SECONDS = 1.0
"""An engine that listens and says nothing, after it was given up for not answering inferences: it is asked
twice more meanwhile."""
LOADING_SECONDS = 10.0
"""The same of one that is being loaded."""
UNLOADING_SECONDS = 30.0
"""An unload of which no engine tells: its ranks have three seconds to end, a user's model has this."""
DEAD_SECONDS = 0.5
"""An unload of an engine that was dead before: there is nobody to wait for, and with requests inside it
never ends."""
SHORTEST_PAUSE_SECONDS = 10.0


HELD = (loading.READY, *loading.GOING)
"""A model in one of these states has an engine."""


class Reason(StrEnum):
    FROZEN = "TritonFrozen"
    STUCK = "EngineFrozen"


class Word(StrEnum):
    """What an engine's socket says: a report, nothing, or that nobody is there; and that it had died."""

    REPORT = "Report"
    NOTHING = "Nothing"
    NOBODY = "Nobody"
    DEAD = "Dead"
    """Nobody was there already when Triton called the model READY."""
    NONE = "None"
    """A user's own model has no engine that could say anything."""


@dataclass(frozen=True, slots=True)
class Silence:
    """Of the server. `looks` are those in a row that were not answered, `since` when the first of them began;
    `served` whether its replica was ready then."""

    since: float
    looks: int
    served: bool


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the server, which took so many `seconds`. `live` is whether it said in time that it is,
    `answered` whether it answered an inference meanwhile, `served` whether its replica was ready."""

    began: float
    seconds: float
    live: bool
    answered: bool
    served: bool


@dataclass(frozen=True, slots=True)
class Stall:
    """Of a model since `since`: Triton shows it as `state` while its engine says `word`."""

    since: float
    state: str
    word: Word


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of a Triton of which nothing serves. `restarted_at` is when it was last started anew, and
    `recovery` how many seconds it took to serve after that, 0 where that is not known."""

    silence: Silence | None = None
    stall: Stall | None = None
    restarted_at: float | None = None
    recovery: float = 0.0


def must_restart(signs: Signs, now: float) -> Reason | None:
    """Why it is to be started anew at `now`, seconds of the clock that the signs were taken by."""
    pause = max(SHORTEST_PAUSE_SECONDS, signs.recovery)
    if signs.restarted_at is not None and now - signs.restarted_at < pause:
        return None
    if signs.silence is not None and _is_frozen(signs.silence, now):
        return Reason.FROZEN
    if signs.stall is not None and now - signs.stall.since >= patience(signs.stall.state, signs.stall.word):
        return Reason.STUCK
    return None


def _is_frozen(silence: Silence, now: float) -> bool:
    seconds = LOOKS * SHORTEST_SECONDS if silence.served else UNSERVED_SECONDS
    return silence.looks >= LOOKS and now - silence.since >= seconds


def silence_of(before: Silence | None, look: Look) -> Silence | None:
    """The silence with one look more; None where there is none, or where the look proves nothing."""
    if look.live or look.answered or look.seconds > SHORTEST_SECONDS + LATE_SECONDS:
        return None
    silence = before or Silence(look.began, 0, look.served)
    return replace(silence, looks=silence.looks + 1)


def stall_of(before: Stall | None, words: dict[str, tuple[str, Word]], now: float) -> Stall | None:
    """The stall among the models, of each its state in Triton and its engine's word. None where a load goes
    on by its own report, since what comes of it may serve; the one that is nearest to its end otherwise."""
    if any(state == "LOADING" and word is Word.REPORT for state, word in words.values()):
        return None
    stalled = [one for one in words.values() if patience(*one) < float("inf")]
    if not stalled:
        return None
    state, word = min(stalled, key=lambda one: patience(*one))
    same = before is not None and before.word is word
    return Stall(before.since if before is not None and same else now, state, word)


def mourned(words: dict[str, tuple[str, Word]], dead: frozenset[str]) -> dict[str, tuple[str, Word]]:
    """The words, of those whom nobody answers for whether they had died before their unload; `dead` are those
    of the look before, and those that Triton called dead."""
    return {name: (state, _mourned(state, word, died=name in dead)) for name, (state, word) in words.items()}


def _mourned(state: str, word: Word, *, died: bool) -> Word:
    if word is Word.NOBODY:
        return Word.DEAD if died or state == "READY" else word
    return Word.DEAD if word is Word.NONE and died else word


def patience(state: str, word: Word) -> float:
    """Seconds that a model may be in such a state; without end where others bring it back."""
    if word is Word.NOTHING and state in HELD:
        return LOADING_SECONDS if state == "LOADING" else ENGINE_SECONDS
    if word is Word.DEAD and state == "UNLOADING":
        return DEAD_SECONDS
    if word in (Word.NOBODY, Word.NONE) and state == "UNLOADING":
        return UNLOADING_SECONDS
    return float("inf")
