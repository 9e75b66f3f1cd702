"""Reading what FastServe says of its objects."""

from typing import Any

from harness.kubectl import Kubectl, Manifest


def condition(thing: Manifest, name: str) -> dict[str, Any]:
    """The condition of that type; empty where there is none."""
    found = [one for one in thing.get("status", {}).get("conditions", []) if one["type"] == name]
    return found[0] if found else {}


def is_so(thing: Manifest, name: str) -> bool:
    """Whether the condition is True and speaks of the current generation."""
    said = condition(thing, name)
    current = said.get("observedGeneration") == thing["metadata"]["generation"]
    return said.get("status") == "True" and current


def told(kubectl: Kubectl, kind: str, name: str) -> str:
    """All conditions in one line, for messages."""
    thing = kubectl.find(kind, name)
    if thing is None:
        return f"{kind}/{name} is gone"
    lines = [
        f"{one['type']}={one['status']} {one['reason']}: {one['message']}"
        for one in thing.get("status", {}).get("conditions", [])
    ]
    return f"{kind}/{name}: " + ("; ".join(lines) or "no conditions")


def must_be(kubectl: Kubectl, kind: str, name: str, said: str) -> Manifest:
    """The object, once `said` is True at its current generation. Raises AssertionError until then."""
    thing = kubectl.get(kind, name)
    assert is_so(thing, said), told(kubectl, kind, name)
    return thing
