"""Random lives of a pool: what a user does to it, step by step, and what is left at the end. Pure: a seed
always gives the same life."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from fastserve.api.identity import MANAGED_BY, MANAGED_BY_LABEL, POOL_LABEL
from fastserve.api.objects import CONFIG_MAP, MODEL_POOL, SERVICE, SUB_MODEL, Kind, Manifest
from fastserve.planning.objects import naming

MEMBERS: Final = ("a", "b", "c")
STEPS: Final = (6, 14)
PAUSE_SECONDS: Final = 0.7
"""Mean time between two steps; many come faster than a look takes."""
Verb = Literal["create", "edit", "delete", "spoil", "remove"]


@dataclass(frozen=True)
class Step:
    """`create`, `edit` (a merge patch) and `delete` are of pools and sub-models; `spoil` (a merge patch) and
    `remove` are what a hand does to a child, if it is there."""

    pause: float
    verb: Verb
    kind: Kind
    name: str
    body: Manifest = field(default_factory=dict)


@dataclass(frozen=True)
class Life:
    """`strangers` are objects of somebody else that are there before; `end` is what the user has at the end,
    by kind and name."""

    seed: int
    pool: str
    strangers: tuple[Manifest, ...]
    steps: tuple[Step, ...]
    end: Mapping[tuple[Kind, str], Manifest]


def life(seed: int) -> Life:
    """The life with that seed."""
    return _Living(seed).live()


class _Living:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._dice = random.Random(seed)
        self._pool = f"p{seed}"
        self._there: dict[tuple[Kind, str], Manifest] = {}
        self._steps: list[Step] = []
        self._strangers = _strangers(self._pool, seed)

    def live(self) -> Life:
        first = [(MODEL_POOL, self._pool), (SUB_MODEL, f"{self._pool}-a")]
        self._dice.shuffle(first)
        for kind, name in first:
            self._create(kind, name)
        for _ in range(self._dice.randint(*STEPS)):
            self._any()
        return Life(self._seed, self._pool, self._strangers, tuple(self._steps), self._there)

    def _any(self) -> None:
        name = f"{self._pool}-{self._dice.choice(MEMBERS)}"
        kind, name = (MODEL_POOL, self._pool) if self._dice.random() < 0.35 else (SUB_MODEL, name)
        chance = self._dice.random()
        if (kind, name) not in self._there:
            self._create(kind, name)
        elif chance < 0.2:
            del self._there[kind, name]
            self._step("delete", kind, name)
        elif chance < 0.35:
            self._by_hand(kind, name)
        else:
            self._edit(kind, name)

    def _create(self, kind: Kind, name: str) -> None:
        spec = self._pool_spec() if kind == MODEL_POOL else self._member_spec()
        manifest = {
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {"name": name},
            "spec": spec,
        }
        self._there[kind, name] = manifest
        self._step("create", kind, name, manifest)

    def _edit(self, kind: Kind, name: str) -> None:
        change = self._pool_change() if kind == MODEL_POOL else self._member_change()
        before = self._there[kind, name]
        self._there[kind, name] = {**before, "spec": merged(before["spec"], change)}
        self._step("edit", kind, name, {"spec": change})

    def _by_hand(self, kind: Kind, name: str) -> None:
        children = [(SERVICE, self._pool), (CONFIG_MAP, naming.routes_of_pool(self._pool))]
        if kind == SUB_MODEL:
            children = [(SERVICE, naming.service_of_member(name))]
        child, name = self._dice.choice(children)
        if name in {one["metadata"]["name"] for one in self._strangers}:
            self._edit(kind, self._pool if kind == MODEL_POOL else name.removesuffix("-m"))
            return  # nobody but its owner touches what is somebody else's
        if self._dice.random() < 0.5:
            self._step("remove", child, name)
        else:
            self._step("spoil", child, name, {"metadata": {"labels": {MANAGED_BY_LABEL: "somebody"}}})

    def _step(self, verb: Verb, kind: Kind, name: str, body: Manifest | None = None) -> None:
        pause = self._dice.expovariate(1 / PAUSE_SECONDS)
        self._steps.append(Step(pause, verb, kind, name, body or {}))

    def _pool_spec(self) -> Manifest:
        return {"router": {"standbyReplicas": self._dice.randint(1, 2)}}

    def _pool_change(self) -> Manifest:
        return self._dice.choice(
            (
                {"selection": {"topK": self._dice.randint(1, 4)}},
                {"router": {"standbyReplicas": self._dice.randint(1, 3)}},
                {"router": {"limits": {"maxQueue": self._dice.randint(1, 999)}}},
                {"suspend": self._dice.random() < 0.4},
            )
        )

    def _member_spec(self) -> Manifest:
        return {
            "poolRef": {"name": self._pool},
            "examples": [f"a text about {self._word()}"],
            "model": {"storageUri": f"https://models.example/{self._word()}.tar.gz"},
            "replicas": self._dice.randint(0, 2),
        }

    def _member_change(self) -> Manifest:
        return self._dice.choice(
            (
                {"replicas": self._dice.randint(0, 3)},
                {"examples": [f"a text about {self._word()}", f"more about {self._word()}"]},
                {"model": {"storageUri": f"https://models.example/{self._word()}.tar.gz"}},
                {"podTemplate": {"env": [{"name": "WORD", "value": self._word()}]}},
                {"suspend": self._dice.random() < 0.4},
                {"gpu": self._dice.choice((None, {"product": ""}))},
            )
        )

    def _word(self) -> str:
        return f"w{self._dice.randrange(10**6):06d}"


def merged(document: Manifest, change: Manifest) -> Manifest:
    """A JSON merge patch (RFC 7396), carried out."""
    result = dict(document)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key) or {}, value)
        else:
            result[key] = value
    return result


def _strangers(pool: str, seed: int) -> tuple[Manifest, ...]:
    """A ConfigMap that looks like ours; and for one pool of five a Service where a child of ours would be,
    with our labels or without."""
    labels: dict[str, Any] = {MANAGED_BY_LABEL: MANAGED_BY, POOL_LABEL: pool}
    mine = {
        "apiVersion": CONFIG_MAP.api_version,
        "kind": CONFIG_MAP.name,
        "metadata": {"name": f"{pool}-mine", "labels": labels},
        "data": {"of": "somebody else"},
    }
    if seed % 5:
        return (mine,)
    taken = {
        "apiVersion": SERVICE.api_version,
        "kind": SERVICE.name,
        "metadata": {"name": naming.service_of_member(f"{pool}-a"), "labels": labels if seed % 2 else {}},
        "spec": {"ports": [{"port": 80}]},
    }
    return mine, taken


def stranger_kind(manifest: Manifest) -> Kind:
    return next(kind for kind in (CONFIG_MAP, SERVICE) if kind.name == manifest["kind"])
