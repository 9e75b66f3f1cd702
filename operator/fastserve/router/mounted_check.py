"""Looking at files that nobody fetches: what takes the place of a fetch for a claim or an image."""

import asyncio
from typing import Final, Literal

from fastserve.api.routes import Target
from fastserve.router.model_files import ModelFiles, check_mounted


class MountedCheck:
    """One look at the mounted files of a version; it has no bytes to tell of."""

    phase: Final[Literal["Loading"]] = "Loading"
    bytes_done: Final = 0
    bytes_total: Final = 0

    def __init__(self, target: Target, files: ModelFiles) -> None:
        self.model_name = target.model_name
        self._target = target
        self._files = files

    async def run(self) -> None:
        """Raises CheckpointError, DigestMismatch, OSError. Where a digest was promised it reads them all."""
        await asyncio.to_thread(check_mounted, self._target, self._files)
