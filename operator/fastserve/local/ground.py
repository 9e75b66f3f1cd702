"""What the processes of local mode stand on."""

from dataclasses import dataclass

from fastserve.local.environment import Environment
from fastserve.local.folders import Folders


@dataclass(frozen=True)
class Ground:
    """Installed pieces, folders, and the GPUs that may be used, as entries for CUDA_VISIBLE_DEVICES."""

    environment: Environment
    folders: Folders
    gpus: tuple[str, ...] = ()
    encoder_threads: int = 1
    drain_seconds: int = 10
