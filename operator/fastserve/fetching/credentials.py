"""What a source asks of who fetches: a mounted Secret, one file per key."""

from dataclasses import dataclass, replace
from pathlib import Path

SHORTEST_SECRET = 4
PUBLIC_KEYS = frozenset({"ca.crt", "AWS_REGION"})


@dataclass(frozen=True)
class Credentials:
    """Keys and values; empty where no Secret is named. `also` is what must not be printed either."""

    values: dict[str, str]
    also: str = ""

    def beside(self, secret: str) -> "Credentials":
        """These, and a secret that is no key's value."""
        return replace(self, also=secret)

    def get(self, key: str) -> str:
        """The value of a key; empty where there is none."""
        return self.values.get(key, "")

    def redacted(self, text: str) -> str:
        """`text` without any of them: the last guard before something is printed."""
        for key, value in [*self.values.items(), ("", self.also)]:
            if key not in PUBLIC_KEYS and len(value) >= SHORTEST_SECRET:
                text = text.replace(value, "***")
        return text


def read_credentials(folder: str | None) -> Credentials:
    """Read a mounted Secret. What Kubernetes keeps beside the keys ("..data") is not one of them."""
    if folder is None:
        return Credentials({})
    files = [path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("..")]
    return Credentials({path.name: path.read_text().strip() for path in files})
