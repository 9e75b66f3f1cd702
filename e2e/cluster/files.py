"""Writing files that running programs watch: only where the content changes, and whole or not at all."""

from pathlib import Path

PUBLIC, SECRET = 0o644, 0o600


def write(path: Path, content: str, mode: int = PUBLIC) -> None:
    """Have `path` hold `content`. kube-proxy, for one, ends itself when its file is written again."""
    if path.exists() and path.read_text() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.touch(mode)
    fresh.write_text(content)
    fresh.replace(path)
