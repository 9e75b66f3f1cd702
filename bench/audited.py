"""What an API server's audit log tells: who wrote what, and which rights were used."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
Document = Mapping[str, Any]


@dataclass(frozen=True, order=True)
class Right:
    """One verb on one resource; `resource` with its subresource."""

    group: str
    resource: str
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{f'.{self.group}' if self.group else ''}"


@dataclass(frozen=True)
class Request:
    """One finished request; `at` in RFC 3339, `pod` the one that asked, where a pod did."""

    at: str
    user: str
    agent: str
    right: Right
    namespace: str
    name: str
    code: int
    forbidden: bool
    pod: str = ""

    @property
    def writes(self) -> bool:
        return self.right.verb in WRITES

    @property
    def target(self) -> str:
        return f"{self.namespace}/{self.right.resource}/{self.name}"


def requests(log: Path, needle: str = "") -> Iterator[Request]:
    """Requests of objects in a log and in what was rotated away of it; only lines that contain `needle`."""
    for path in sorted(log.parent.glob(f"{log.stem}*{log.suffix}"), key=lambda path: path.stat().st_mtime):
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                if needle in line and line.endswith("}\n"):  # the last line may still be under way
                    request = _request(json.loads(line))
                    if request is not None:
                        yield request


def _request(entry: Document) -> Request | None:
    reference = entry.get("objectRef")
    if reference is None or entry["stage"] not in {"ResponseComplete", "ResponseStarted"}:
        return None
    if entry["stage"] == "ResponseStarted" and entry["verb"] != "watch":
        return None
    subresource = reference.get("subresource", "")
    resource = reference["resource"] + (f"/{subresource}" if subresource else "")
    return Request(
        at=entry["requestReceivedTimestamp"],
        user=entry["user"]["username"],
        agent=entry.get("userAgent", ""),
        right=Right(reference.get("apiGroup", ""), resource, entry["verb"]),
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=int(entry.get("responseStatus", {}).get("code", 0)),
        forbidden=entry.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid",
        pod="".join(entry["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name", ())),
    )


def writes_by_object(found: Iterable[Request]) -> Counter[str]:
    """How often each object was written, by ``namespace/resource/name``."""
    return Counter(request.target for request in found if request.writes)


def used(found: Iterable[Request]) -> frozenset[Right]:
    """Rights that requests needed. A server-side apply that made its object needed "create" as well."""
    rights = set()
    for request in found:
        rights.add(request.right)
        if request.right.verb == "patch" and request.code == 201:
            rights.add(Right(request.right.group, request.right.resource, "create"))
    return frozenset(rights)


def granted(roles: Iterable[Document]) -> frozenset[Right]:
    """All rights of these Roles and ClusterRoles."""
    return frozenset(
        Right(group, resource, verb)
        for role in roles
        for rule in role.get("rules") or ()
        for group in rule.get("apiGroups", ())
        for resource in rule.get("resources", ())
        for verb in rule.get("verbs", ())
    )


def listed(rights: Iterable[Right]) -> Sequence[str]:
    return [str(right) for right in sorted(rights)]
