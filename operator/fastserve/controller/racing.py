"""Several things at once, for as long as all of them go on."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def first_of(*coroutines: Coroutine[Any, Any, object]) -> None:
    """Run all until one ends, then end the others. Raises what any of them raised; where several did, that
    of one which did not end well when it was told to, since it may still be at work."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    first: set[asyncio.Task[object]] = set()
    try:
        first, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    told = sorted(zip(tasks, results, strict=True), key=lambda one: one[0] in first)
    errors = [result for _, result in told if isinstance(result, Exception)]
    if errors:
        raise errors[0]
