"""What the operator's process is told by its environment: read once, at the start."""

import os
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from fastserve.cluster.leasing import LeaseTimes
from fastserve.controller.workqueue import Pace
from fastserve.errors import InvalidSpec
from fastserve.planning.objects.settings import ImageSet, NetworkSetting, ObjectSettings, PullPolicy

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True)
class Address:
    host: str
    port: int


@dataclass(frozen=True)
class WriteRate:
    """Writes to the API server: so many a second for long, so many at once."""

    per_second: float = 20.0
    burst: float = 40.0


@dataclass(frozen=True)
class OperatorSettings:
    """Everything that the operator needs to know before it starts. No `namespaces`: all of them."""

    objects: ObjectSettings
    namespace: str
    pod_name: str
    lease_name: str
    listen: Address
    log_level: LogLevel
    namespaces: tuple[str, ...] = ()
    pace: Pace = field(default_factory=Pace)
    lease_times: LeaseTimes = field(default_factory=LeaseTimes)
    writes: WriteRate = field(default_factory=WriteRate)


def settings_from(environment: Mapping[str, str]) -> OperatorSettings:
    """The settings. Raises InvalidSpec, naming the variable, where one is missing or makes no sense."""
    read = _Reading(environment)
    namespace = read.text("FASTSERVE_NAMESPACE", "fastserve-system")
    return OperatorSettings(
        objects=ObjectSettings(
            images=ImageSet(
                router=read.required("FASTSERVE_ROUTER_IMAGE"),
                triton=read.required("FASTSERVE_TRITON_IMAGE"),
                pull_policy=cast(
                    "PullPolicy",
                    read.one_of("FASTSERVE_IMAGE_PULL_POLICY", get_args(PullPolicy), "IfNotPresent"),
                ),
                pull_secrets=read.words("FASTSERVE_IMAGE_PULL_SECRETS"),
            ),
            network=NetworkSetting(
                policies=BOOLEANS[read.one_of("FASTSERVE_NETWORK_POLICIES", tuple(BOOLEANS), "true")],
                operator_namespace=namespace,
                prometheus_namespace=read.text("FASTSERVE_PROMETHEUS_NAMESPACE", ""),
            ),
            cluster_domain=read.text("FASTSERVE_CLUSTER_DOMAIN", "cluster.local"),
            # Kept nowhere: another process of ours tells routers of its own keys (decision 13).
            state_seed=secrets.token_bytes(32),
        ),
        namespace=namespace,
        pod_name=read.text("FASTSERVE_POD_NAME", f"{socket.gethostname()}-{os.getpid()}"),
        lease_name=read.text("FASTSERVE_LEASE_NAME", "fastserve-operator"),
        listen=read.address("FASTSERVE_LISTEN", "0.0.0.0:8082"),
        log_level=cast("LogLevel", read.one_of("FASTSERVE_LOG_LEVEL", get_args(LogLevel), "INFO")),
        namespaces=read.words("FASTSERVE_WATCH_NAMESPACES"),
        writes=WriteRate(
            read.number("FASTSERVE_WRITES_PER_SECOND", 20.0), read.number("FASTSERVE_WRITE_BURST", 40.0)
        ),
    )


class _Reading:
    """One environment; every method names the variable in what it raises."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def text(self, name: str, default: str) -> str:
        return self._environment.get(name, "").strip() or default

    def required(self, name: str) -> str:
        if not (value := self.text(name, "")):
            raise InvalidSpec(name, "is required")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        parts = (part.strip() for part in self.text(name, "").split(","))
        return tuple(dict.fromkeys(part for part in parts if part))

    def one_of(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self.text(name, default)
        if value not in allowed:
            raise InvalidSpec(name, f"found {value!r}", ", ".join(allowed))
        return value

    def number(self, name: str, default: float) -> float:
        value = self.text(name, str(default))
        try:
            found = float(value)
        except ValueError:
            found = 0.0
        if not 1 <= found <= 1_000_000:
            raise InvalidSpec(name, f"found {value!r}", "a number from 1 to 1000000")
        return found

    def address(self, name: str, default: str) -> Address:
        host, _, port = self.text(name, default).rpartition(":")
        if not (host and port.isdecimal() and int(port) <= 65535):
            raise InvalidSpec(name, f"found {self.text(name, default)!r}", "HOST:PORT")
        return Address(host.strip("[]"), int(port))
