"""Who may call, and how: the mounted keys and certificates, read again when they change."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

from fastserve.router.certificates import CertificateUnusable, Material, PeerTls, TlsPlaces, load
from fastserve.router.guard import Guard
from fastserve.router.keys import LONGEST_KEY, read_entries
from fastserve.router.settings import RouterSettings

POLL_SECONDS = 0.5
log = logging.getLogger(__name__)
Mark = tuple[tuple[str, int, int, int], ...]


def mark_of(folder: Path) -> Mark:
    """Identity, size and time of change of a folder's files; of hidden ones, which the kubelet keeps for
    itself, none. Nothing where there is no folder."""
    if not folder.is_dir():
        return ()
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    stats = [(file.name, file.stat()) for file in files]
    return tuple((name, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in stats)


class KeyFolder:
    """Keeps a guard's keys at what a mounted Secret says. A key that is gone is refused at once."""

    def __init__(self, folder: Path, guard: Guard) -> None:
        self.problem = "the keys were not read yet"
        self._folder = folder
        self._guard = guard
        self._seen: Mark | None = None

    def look(self) -> None:
        """One look. Raises OSError where files change under it; the next look reads them."""
        mark = mark_of(self._folder)
        if mark == self._seen:
            return
        ring, faults = read_entries({name: self._entry(name) for name, *_ in mark})
        self._guard.ring, self._seen = ring, mark
        for fault in faults:
            log.error("an entry of the pool's keys is not used", extra={"why": fault})
        log.info("keys taken", extra={"keys": len(ring)})
        self.problem = "" if len(ring) else "; ".join(("there are no API keys (router.auth)", *faults[:3]))

    def _entry(self, name: str) -> bytes:
        with (self._folder / name).open("rb") as file:
            return file.read(2 * LONGEST_KEY)


class Certificates:
    """Keeps listener and callers at what the mounted certificates say. What cannot be used leaves the former
    ones in place."""

    def __init__(self, places: TlsPlaces, tls: PeerTls) -> None:
        self.problem = "the certificate was not read yet"
        self._places = places
        self._tls = tls
        self._seen: tuple[Mark, ...] | None = None

    async def look(self, take: Callable[[Material], Awaitable[None]]) -> None:
        """One look; `take` gets new material. Raises OSError where files change under it."""
        folders = [self._places.folder, *([self._places.client_ca] if self._places.client_ca else [])]
        marks = tuple(mark_of(folder) for folder in folders)
        if marks == self._seen:
            return
        self._seen = marks
        try:
            material = await asyncio.to_thread(load, self._places)
        except CertificateUnusable as error:
            log.error("the certificate cannot be used", extra={"why": str(error)})
            if self._tls.material is None:
                self.problem = f"{error.reason}: {error}"
            return
        self._tls.material, self.problem = material, ""
        await take(material)
        log.info("certificate taken", extra={"host": material.name})


class Access:
    """What a router's settings say of keys and TLS. `guard` and `tls` are None where nothing is asked for."""

    def __init__(self, settings: RouterSettings) -> None:
        self.guard = Guard() if settings.keys_path is not None else None
        self.tls = PeerTls() if settings.tls_path is not None else None
        self._keys = self._certificates = None
        if settings.keys_path is not None and self.guard is not None:
            self._keys = KeyFolder(Path(settings.keys_path), self.guard)
        if settings.tls_path is not None and self.tls is not None:
            authority = Path(settings.client_ca_path) if settings.client_ca_path else None
            self._certificates = Certificates(TlsPlaces(Path(settings.tls_path), authority), self.tls)

    @property
    def problem(self) -> str:
        """Why nobody can be let in; empty where callers can."""
        parts = (self._keys, self._certificates)
        return next((part.problem for part in parts if part is not None and part.problem), "")

    async def look(self, take: Callable[[Material], Awaitable[None]]) -> None:
        """One look at all files."""
        try:
            if self._keys is not None:
                self._keys.look()
            if self._certificates is not None:
                await self._certificates.look(take)
        except OSError as error:
            log.warning("keys or certificates cannot be read", extra={"why": error.strerror})

    async def run(self, take: Callable[[Material], Awaitable[None]]) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.look(take)
