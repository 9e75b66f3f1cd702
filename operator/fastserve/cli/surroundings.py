"""What the command takes from the environment, read once in `__main__`."""

from dataclasses import dataclass, field
from pathlib import Path

from fastserve.local.folders import Folders


@dataclass(frozen=True)
class Surroundings:
    """Values of FASTSERVE_STATE, FASTSERVE_DATA, FASTSERVE_API_KEY, UV_TORCH_BACKEND and
    CUDA_VISIBLE_DEVICES."""

    state: str | None = None
    data: str | None = None
    torch_backend: str = ""
    visible_devices: str | None = None
    api_key: str = field(default="", repr=False)
    """Shown to pools that ask for keys."""

    def folders(self, state: Path | None) -> Folders:
        """`state` is the option --state and wins over the environment."""
        named = state or (Path(self.state) if self.state else None)
        return Folders.of_platform(state=named, data=Path(self.data) if self.data else None)
