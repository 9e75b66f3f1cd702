"""List and watch, for ever: the whole current set of objects after every change.

What a server can do to a watch is met here: streams end, go silent, break off, expire (410) or bring
garbage; the server is away for hours. The last set stays with who follows; it is told of a new one.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fastserve.api.objects import Manifest
from fastserve.cluster.failures import Expired
from fastserve.errors import ClusterError

LOG = logging.getLogger(__name__)
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 30.0
SHORT_STREAM: Final = 1.0
"""Seconds: a stream that ends sooner is a failure, whatever it says."""

Names = tuple[str, str]


@dataclass(frozen=True)
class Feed:
    """Where a set comes from: `listing` gives all objects and the list's resourceVersion, `stream` the
    watch's events from a version on. Both raise ClusterError; `stream` ends when the server ends it."""

    listing: Callable[[], Awaitable[tuple[list[Manifest], str]]]
    stream: Callable[[str], AsyncIterator[dict[str, Any]]]
    what: str


@dataclass
class _Set:
    objects: dict[Names, Manifest] = field(default_factory=dict)
    version: str = ""
    is_told: bool = False

    def replace(self, items: list[Manifest], version: str) -> bool:
        """Take a new list; whether it tells anything new."""
        fresh = {_names(item): item for item in items}
        is_news = not self.is_told or _versions(fresh) != _versions(self.objects)
        self.objects, self.version, self.is_told = fresh, version, True
        return is_news

    def take(self, event: dict[str, Any]) -> bool:
        """Take one event of a watch; whether the set is another one now. Raises Expired for an error."""
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            raise Expired(str(item.get("message", item)))
        self.version = item["metadata"]["resourceVersion"]
        if kind == "BOOKMARK":
            return False
        if kind == "DELETED":
            return self.objects.pop(_names(item), None) is not None
        self.objects[_names(item)] = item
        return True


async def follow(feed: Feed) -> AsyncIterator[list[Manifest]]:
    """The set at first and after every change. Never ends, never raises a ClusterError."""
    current, failures = _Set(), 0
    while True:
        began = asyncio.get_running_loop().time()
        try:
            if not current.version and current.replace(*await feed.listing()):
                yield list(current.objects.values())
            async for event in feed.stream(current.version):
                if current.take(event):
                    yield list(current.objects.values())
        except Expired as error:
            LOG.info("the watch of %s begins anew: %s", feed.what, error)
            current.version = ""
        except ClusterError as error:
            LOG.warning("the watch of %s broke off: %s", feed.what, error)
        except (KeyError, TypeError, AttributeError) as error:
            LOG.warning("the watch of %s brought what is no event: %r", feed.what, error)
            current.version = ""
        lasted = asyncio.get_running_loop().time() - began
        failures = failures + 1 if lasted < SHORT_STREAM else 0
        await asyncio.sleep(pause(failures))


def pause(failures: int) -> float:
    """Seconds before the next attempt: from a tenth, doubling to 30, each between half and the whole."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 10)) if failures else 0.1
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


def _names(item: Manifest) -> Names:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def _versions(objects: dict[Names, Manifest]) -> dict[Names, str]:
    return {names: item["metadata"].get("resourceVersion", "") for names, item in objects.items()}
