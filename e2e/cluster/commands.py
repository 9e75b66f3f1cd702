"""Short commands of the system: run, and told in full when they fail."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from cluster.failures import ClusterFailed


def run(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None, stdin: str = ""
) -> str:
    """Standard output of a command. Raises ClusterFailed with what it printed when it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise ClusterFailed(f"`{' '.join(words)[:300]}` failed ({done.returncode}): {said[-3000:]}")
    return done.stdout


def succeeds(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> bool:
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, env=environment, check=False)
    return done.returncode == 0
