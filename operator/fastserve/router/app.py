"""One router process put together: its parts, its loops in one TaskGroup, its ordered end."""

import asyncio
import logging
import signal
import socket
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastserve.api.scaling import HISTORY_SECONDS, TOLD_SECONDS, LoadReport
from fastserve.cluster.port import Scales
from fastserve.errors import LocalError
from fastserve.router import audit
from fastserve.router.access import Access
from fastserve.router.caller import HOP_HEADER
from fastserve.router.doors import DataDoor
from fastserve.router.draining import Drain, DrainDoor, DrainTimes
from fastserve.router.encoder import Encoder, EncoderService
from fastserve.router.keepers import PrototypeKeeper, TableKeeper
from fastserve.router.keys import Role
from fastserve.router.known import SidecarParts
from fastserve.router.listening import BACKLOG, Listener
from fastserve.router.metrics import Metrics
from fastserve.router.model_files import ModelPlaces
from fastserve.router.peers import Peers
from fastserve.router.pool import Pool
from fastserve.router.protocol import HttpServer
from fastserve.router.reviver import Reviver, ReviverParts
from fastserve.router.scaling import triton_queue
from fastserve.router.scaling.exposition import LoadMetrics
from fastserve.router.scaling.meter import Meter
from fastserve.router.scaling.scaler import Scaler
from fastserve.router.scaling.wiring import scaler_of
from fastserve.router.serving import OwnReplica
from fastserve.router.settings import RouterSettings
from fastserve.router.sidecar import Sidecar
from fastserve.router.sources import sources_of
from fastserve.router.state import AdminDoor, AdminParts
from fastserve.router.table import TableSnapshot
from fastserve.router.trace_keeper import TraceKeeper
from fastserve.router.triton import TritonControl, TritonInference
from fastserve.router.vigil import Vigil

DEFAULT_MAX_BODY = 1024 * 1024
"""Until the route table says."""
ADMIN_MAX_BODY = 64 * 1024
HOP_HEADROOM = 16 * 1024
"""What was admitted at the door must fit when it goes on as tensors: a header and four bytes a text."""
log = logging.getLogger(__name__)


class PortTaken(LocalError):
    reason = "PortTaken"


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises PortTaken where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise PortTaken(f"{host}:{port} cannot be listened on: {error.strerror}") from error
    sock.setblocking(False)
    return sock


@dataclass(frozen=True)
class Doors:
    """The two listening sockets."""

    data: socket.socket
    admin: socket.socket

    @staticmethod
    def open(settings: RouterSettings) -> "Doors":
        """Raises PortTaken."""
        data = listen(settings.host, settings.data_port)
        try:
            return Doors(data, listen(settings.host, settings.admin_port))
        except PortTaken:
            data.close()
            raise


class Router:
    """A router. `control` is None for a stand-by router, `reads` for one that is not on a cluster."""

    def __init__(
        self,
        settings: RouterSettings,
        encoder: Encoder,
        control: TritonControl | None,
        reads: Scales | None = None,
    ) -> None:
        self.stopping = asyncio.Event()
        self._settings = settings
        self._control = control
        self._metrics = Metrics()
        self._encoder = EncoderService(encoder)
        self._triton = TritonInference(settings.triton_http) if settings.triton_http else None
        self._access = Access(settings)
        peers = Peers(settings.instance, self._metrics.healthy, self._access.tls)
        own = self._own()
        meter = Meter(own=own)
        self.pool = Pool(settings.pool, own, peers, meter=meter)
        self._metrics.registry.register(LoadMetrics(meter, settings.pool, settings.instance))
        self.sidecar = self._make_sidecar(control)
        self._reviver = self._make_reviver(control)
        self._sources = sources_of(settings, reads)
        self._table = TableKeeper(self._sources.table, self.pool, self._take_limits)
        self._prototypes = PrototypeKeeper(self._sources.prototypes, self._encoder, self.pool)
        door = DataDoor(self.pool, self._encoder, self._metrics, self._access.guard)
        self._tracing = TraceKeeper(settings, self._metrics, door.handle)
        self.data = HttpServer(self._tracing.handle, self._max_body, self._refused)
        self._count_what_the_data_port_has()
        times = DrainTimes(settings.quiet_seconds, settings.drain_seconds)
        self._drain = Drain(self.data, self.pool.own, times)
        path = settings.drain_socket
        self._drain_door = DrainDoor(path, self._drain) if path is not None else None
        admin = AdminDoor(self._admin_parts(door))
        self.admin = HttpServer(admin.handle, lambda _: ADMIN_MAX_BODY, self._metrics.refused)
        self._scaler = self._make_scaler(admin, reads)

    async def serve(self, doors: Doors) -> None:
        """Serve until `stopping` is set, then drain."""
        self._make_folders()
        self._table.look()
        loop = asyncio.get_running_loop()
        data = Listener(doors.data, self.data.connection)
        admin = await loop.create_server(self.admin.connection, sock=doors.admin, backlog=BACKLOG)
        try:
            await self._open(data)
            if self._drain_door is not None:
                await self._drain_door.open()
            async with asyncio.TaskGroup() as group:
                loops = [*self._loops(), self._access.run(data.secure)]
                tasks = [group.create_task(loop_of) for loop_of in loops]
                await self.stopping.wait()
                await self._drain.run()
                for task in tasks:
                    task.cancel()
        finally:
            data.close()
            admin.close()
            await self._close()

    def _admin_parts(self, door: DataDoor) -> AdminParts:
        return AdminParts(
            self._settings.instance,
            self.pool,
            self.sidecar,
            self._metrics,
            door,
            self.data,
            self._prototypes,
            self._access,
            self._reviver,
            lambda: self._scaler.state if self._scaler is not None else None,
        )

    def _make_scaler(self, admin: AdminDoor, reads: Scales | None) -> Scaler | None:
        def report(whole: bool) -> LoadReport:
            return admin.load(HISTORY_SECONDS if whole else TOLD_SECONDS)

        registry, access = self._metrics.registry, self._access
        scaler = scaler_of(self._settings, self.pool, access, registry, report=report, cluster=reads)
        if scaler is not None:
            self.pool.waking.on_hold = scaler.hurry
        return scaler

    async def _open(self, data: Listener) -> None:
        """Where TLS is wanted, callers wait for a certificate; nobody is served without."""
        await self._access.look(data.secure)
        if self._access.tls is None:
            await data.open()

    def _make_folders(self) -> None:
        """Triton, which starts when this router answers, wants its repository to be there, and the engine the
        folder of its socket."""
        if self.sidecar is not None and self._settings.repository_path is not None:
            Path(self._settings.repository_path).mkdir(parents=True, exist_ok=True)
            Path(self._settings.run_path).mkdir(parents=True, exist_ok=True)

    def _loops(self) -> list[Coroutine[Any, Any, None]]:
        peers = self.pool.peers
        loops = [
            self._table.run(),
            self._prototypes.run(),
            self._tracing.run(),
            peers.watch(self._sources.peers),
            peers.probe(),
            self.pool.meter.run(),
            *(loop() for loop in self._sources.loops),
        ]
        if self.sidecar is not None and self.pool.own is not None:
            loops += [self.sidecar.run(), self._vigil(self.pool.own)]
            if self._control is not None:
                loops.append(triton_queue.watch(self.pool.own, self._control))
        if self._reviver is not None:
            loops.append(self._reviver.run())
        if self._scaler is not None:
            loops.append(self._scaler.run())
        return loops

    async def _vigil(self, own: OwnReplica) -> None:
        if self._triton is not None:
            await Vigil(own, self._triton, self._metrics).run()

    def _count_what_the_data_port_has(self) -> None:
        data = self.data
        self._metrics.count_in_flight(lambda: float(data.in_flight))
        self._metrics.count_connections("unasked", lambda: float(len(data.unasked)))
        self._metrics.count_connections("asked", lambda: float(len(data.connections) - len(data.unasked)))

    async def _close(self) -> None:
        self.data.close_connections()
        self.admin.close_connections()
        if self._drain_door is not None:
            self._drain_door.close()
        if self.sidecar is not None:
            await self.sidecar.close()
        if self._triton is not None:
            self._triton.close()
        self.pool.peers.close()
        self._encoder.close()
        await self._tracing.close()

    def _own(self) -> OwnReplica | None:
        if self._settings.member is None or self._triton is None:
            return None
        return OwnReplica(self._settings.member, self._triton, self._metrics, self._settings.instance)

    def _make_sidecar(self, control: TritonControl | None) -> Sidecar | None:
        settings, own = self._settings, self.pool.own
        if own is None or control is None or settings.repository_path is None:
            return None
        folders = (
            settings.models_path,
            settings.credentials_path,
            settings.claims_path,
            settings.images_path,
        )
        parts = SidecarParts(
            member=own.member,
            instance=settings.instance,
            drain_seconds=settings.drain_seconds,
            repository=Path(settings.repository_path),
            places=ModelPlaces(
                Path(settings.run_path),
                *(Path(one) if one else None for one in folders),
            ),
            control=control,
            replica=own,
            metrics=self._metrics,
            snapshot=lambda: self.pool.snapshot,
            on_restart=self._revoke_drain,
        )
        return Sidecar(parts)

    def _make_reviver(self, control: TritonControl | None) -> Reviver | None:
        settings, own, triton = self._settings, self.pool.own, self._triton
        if own is None or triton is None or control is None:
            return None
        if settings.repository_path is None or settings.warden_socket is None:
            return None
        repository, warden = Path(settings.repository_path), Path(settings.warden_socket)
        return Reviver(ReviverParts(own, triton, control, repository, warden, self._metrics))

    def _revoke_drain(self, away_at: float) -> None:
        """A drain that Triton's end asked for is over when Triton is back; one by SIGTERM never is."""
        if not self.stopping.is_set():
            self._drain.revoke(away_at)

    def _take_limits(self, snapshot: TableSnapshot) -> None:
        if self._access.guard is not None:
            self._access.guard.operator_digest = snapshot.table.access.operator_digest
        self._tracing.take(snapshot.table.tracing)
        limits = snapshot.table.limits
        self.pool.meter.keep(snapshot.names)
        now = asyncio.get_running_loop().time()
        self.pool.waking.take(snapshot.members, limits.max_queue, now)
        self.data.max_connections = limits.max_connections
        self._encoder.max_waiting = limits.max_queue
        own = self.pool.own
        member = snapshot.members.get(own.member) if own else None
        if own is not None and member is not None:
            own.gate.resize(member.max_concurrency, limits.max_queue)
            own.gate.relief = self.pool.more_come

    def _refused(self, reason: str) -> None:
        self._metrics.refused(reason)
        if self.pool.audited:
            audit.refused(reason)

    def _max_body(self, headers: Mapping[bytes, bytes]) -> int:
        """Raises Refusal for who shows no key: their bodies are not read."""
        if self._access.guard is not None:
            self._access.guard.admit(headers, Role.INFER)
        snapshot = self.pool.snapshot
        limit = snapshot.table.limits.max_request_bytes if snapshot else DEFAULT_MAX_BODY
        return limit + HOP_HEADROOM if HOP_HEADER in headers else limit


def stop_on_signals(router: Router) -> None:
    """SIGTERM and SIGINT drain; a second one does nothing more."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, router.stopping.set)
