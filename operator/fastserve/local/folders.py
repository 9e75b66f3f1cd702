"""Where local mode keeps things: the platform's own folders, or one that the user names."""

from dataclasses import dataclass
from pathlib import Path

from platformdirs import PlatformDirs

APP = "fastserve"


@dataclass(frozen=True)
class Folders:
    """`data` outlives everything (Triton, the engine's environment, the encoder); `state` is what one
    running `fastserve up` keeps (what runs, logs, the route tables)."""

    data: Path
    state: Path

    @staticmethod
    def of_platform(state: Path | None = None, data: Path | None = None) -> "Folders":
        platform = PlatformDirs(APP, appauthor=False)
        return Folders(
            data=(data or Path(platform.user_data_dir)).resolve(),
            state=(state or Path(platform.user_state_dir)).resolve(),
        )

    @property
    def launch_file(self) -> Path:
        return self.state / "launch.json"

    @property
    def session_file(self) -> Path:
        return self.state / "session.json"

    def pool(self, name: str) -> Path:
        """What the processes of one pool read."""
        return self.state / "pools" / name

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def prototypes(self) -> Path:
        return self.data / "prototypes"
