"""What stands in the book is about one target, and is not told of the next."""

from fastserve.api.routes import EngineTarget, Target
from fastserve.errors import CheckpointMissing
from fastserve.router.bookkeeping import Bookkeeping
from fastserve.router.versions.trial import Serving


def target(model_name: str) -> Target:
    return Target(
        digest="d" * 64,
        model_name=model_name,
        version="",
        storage_uri="pvc://models/a",
        files={},
        engine=EngineTarget(devices=("cpu",), python="python3"),
    )


def test_a_failure_is_that_of_the_target_it_happened_to() -> None:
    book, old, new = Bookkeeping(), target("a-1"), target("a-2")
    assert book.take_target(old)
    book.fail(CheckpointMissing("there is none"), 0.0)
    assert (book.is_about(old), book.failed(old)) == (True, True)
    assert (book.is_about(new), book.failed(new)) == (False, False)

    assert book.take_target(new)
    assert (book.is_about(new), book.failed(new)) == (True, False)


def test_the_last_version_that_answered_is_kept_when_another_is_wanted() -> None:
    book, old, new = Bookkeeping(), target("a-1"), target("a-2")
    serving = Serving("a-1", "d" * 64, "", "scores", ("yes",), 1, 4)
    book.take_target(old)
    book.note_proved(old, serving)
    book.take_target(new)
    book.fail(CheckpointMissing("there is none"), 0.0)

    book.note_proved(old, serving)

    assert book.failed(new)
    assert [book.version(name, new) for name in ("a-1", "a-2", "a-3")] == [old, new, None]


def test_a_router_without_a_target_tells_what_it_knows() -> None:
    assert Bookkeeping().is_about(None)
