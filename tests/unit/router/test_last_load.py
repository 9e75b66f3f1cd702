"""How long a load took: whoever made the last one knows."""

import pytest

from fastserve.api.engine import EngineReport
from fastserve.router.telling import last_load


@pytest.mark.parametrize(
    ("measured", "report", "seconds"),
    [
        (None, None, 0.0),
        (12.0, None, 12.0),
        (12.0, EngineReport("Loaded", load_seconds=9.0), 12.0),
        (12.0, EngineReport("Loaded", load_seconds=20.0, restarts=1), 20.0),
        (None, EngineReport("Loaded", load_seconds=9.0), 9.0),
    ],
)
def test_the_engine_tells_of_what_it_loaded_by_itself(
    measured: float | None, report: EngineReport | None, seconds: float
) -> None:
    assert last_load(measured, report) == seconds
