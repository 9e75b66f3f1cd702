"""TLS at the data port: certificates exchanged under load, shown by callers, and slow handshakes."""

import asyncio
import datetime as dt
import json
import shutil
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, NameOID

from cluster.certificates import Holder, Signed, make_authority, sign, write
from fastserve.router.certificates import CertificateUnusable, TlsPlaces, load
from wiring.router.router_world import World, table_document, world

TEXT = {"text": "what is my account balance"}
SERVER = Holder("tls", "assistant", hosts=("assistant.team-a.svc",))
POST = b"POST /v1/predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n%b"
BODY = json.dumps(TEXT).encode()


@dataclass(frozen=True)
class Issuer:
    """An authority, and the folder of a Secret that it fills."""

    authority: Signed
    folder: Path

    @staticmethod
    def at(folder: Path) -> "Issuer":
        issuer = Issuer(make_authority(), folder)
        issuer.issue()
        return issuer

    def issue(self, holder: Holder = SERVER) -> None:
        """A new certificate in the place of the old one, all files at once as the kubelet does it."""
        part = self.folder.with_suffix(".part")
        write(part, holder.file, sign(self.authority, holder))
        write(part, "ca", self.authority)
        (part / "ca.key").unlink()
        self.folder.mkdir(exist_ok=True)
        for file in part.iterdir():
            file.replace(self.folder / file.name)
        shutil.rmtree(part)

    def caller(self, shows: "Issuer | None" = None) -> ssl.SSLContext:
        """A caller that trusts this authority; with `shows`, one with a certificate of that one's."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        if shows is not None:
            folder = self.folder.with_suffix(".caller")
            write(folder, "me", sign(shows.authority, Holder("me", "a caller")))
            context.load_cert_chain(folder / "me.crt", folder / "me.key")
        return context


class Secured(World):
    """A world of routers with TLS by the folder `tls`; they ask for certificates where there is `callers`."""

    async def start(self, instance: str, member: str | None = None, **changes: object):
        paths = {"tls_path": str(self.folder / "tls")}
        if (self.folder / "callers").is_dir():
            paths["client_ca_path"] = str(self.folder / "callers")
        return await super().start(instance, member, **paths, **changes)


@pytest.fixture(autouse=True)
def secured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wiring.router.router_world.World", Secured)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer.at(tmp_path / "tls")


class Caller:
    """One caller: a connection with TLS, requests one after the other."""

    def __init__(self, pool: World, context: ssl.SSLContext | None) -> None:
        self._address = pool.door.data.address.split(":")
        self._context = context

    async def __aenter__(self) -> "Caller":
        host, port = self._address
        name = {} if self._context is None else {"server_hostname": SERVER.hosts[0]}
        self.reader, self.writer = await asyncio.open_connection(host, int(port), ssl=self._context, **name)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()

    @property
    def serial(self) -> str:
        return self.writer.get_extra_info("peercert")["serialNumber"]

    async def ask(self) -> tuple[int, dict]:
        """Raises EOFError or OSError where the connection ends instead of an answer."""
        self.writer.write(POST % (len(BODY), BODY))
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)
        size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return int(head[9:12]), json.loads(await self.reader.readexactly(size))


async def serial_of(pool: World, context: ssl.SSLContext) -> str:
    async with Caller(pool, context) as caller:
        return caller.serial


async def test_door_and_routers_speak_tls_and_nothing_else(tmp_path: Path, issuer: Issuer) -> None:
    async with world(tmp_path, ("banking", "travel")) as pool:
        async with Caller(pool, issuer.caller()) as caller:
            status, answer = await caller.ask()
            assert (status, answer["members"][0]["status"]) == (200, "answered")
        async with Caller(pool, None) as plain:
            with pytest.raises((EOFError, OSError)):
                await plain.ask()
        assert pool.nodes["banking"].router.pool.own.requests == 1


@pytest.mark.parametrize(
    "factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
def test_a_certificate_is_exchanged_under_load_and_no_request_is_lost(
    tmp_path: Path, issuer: Issuer, factory
) -> None:
    async def story() -> None:
        async with world(tmp_path, ("banking", "travel")) as pool:
            context = issuer.caller()
            answered, over = [], asyncio.Event()

            async def keep_asking() -> None:
                async with Caller(pool, context) as caller:
                    while not over.is_set():
                        answered.append((await caller.ask())[0])

            async def come_and_go() -> None:
                while not over.is_set():
                    async with Caller(pool, context) as caller:
                        answered.append((await caller.ask())[0])

            callers = [
                asyncio.create_task(one()) for one in (keep_asking, keep_asking, come_and_go, come_and_go)
            ]
            for _ in range(3):
                before = await serial_of(pool, context)
                issuer.issue()

                async def exchanged(old: str = before) -> bool:
                    return await serial_of(pool, context) != old

                await pool.until(exchanged)

            async def asked_enough() -> bool:
                return len(answered) > 100

            await pool.until(asked_enough)
            over.set()
            await asyncio.gather(*callers)
            assert set(answered) == {200}

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(story())


async def test_callers_must_show_a_certificate_of_the_named_authority(tmp_path: Path, issuer: Issuer) -> None:
    theirs, other = Issuer.at(tmp_path / "callers"), Issuer.at(tmp_path / "other")
    async with world(tmp_path, ("banking",)) as pool:
        async with Caller(pool, issuer.caller(shows=theirs)) as caller:
            assert (await caller.ask())[0] == 200  # through the door to a router: they show theirs as well
        for context in (issuer.caller(), issuer.caller(shows=other), issuer.caller(shows=issuer)):
            with pytest.raises((EOFError, OSError)):
                async with Caller(pool, context) as caller:
                    await caller.ask()
        assert pool.nodes["banking"].router.pool.own.requests == 1


async def test_an_authority_that_is_exchanged_lets_its_own_callers_in_and_the_old_ones_no_more(
    tmp_path: Path, issuer: Issuer
) -> None:
    old = Issuer.at(tmp_path / "callers")
    async with world(tmp_path, ("banking",)) as pool:
        old_caller = issuer.caller(shows=old)
        async with Caller(pool, old_caller) as caller:
            assert (await caller.ask())[0] == 200
        new_caller = issuer.caller(shows=Issuer.at(tmp_path / "callers"))

        async def let_in(context: ssl.SSLContext) -> bool:
            with suppress(EOFError, OSError):
                async with Caller(pool, context) as caller:
                    return (await caller.ask())[0] == 200
            return False

        await pool.until(lambda: let_in(new_caller))
        assert not await let_in(old_caller)


async def test_a_handshake_that_does_not_go_on_is_cut_off(
    tmp_path: Path, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastserve.router.listening.HANDSHAKE_SECONDS", 0.3)
    async with world(tmp_path, ("banking",)) as pool:
        for sent in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n"):
            async with Caller(pool, None) as caller:
                caller.writer.write(sent)
                with suppress(ConnectionResetError):
                    await asyncio.wait_for(caller.reader.read(), 5)
        async with Caller(pool, issuer.caller()) as caller:
            assert (await caller.ask())[0] == 200


def spoil_key(folder: Path) -> None:
    (folder / "tls.key").write_text("no key")


def name_no_text(folder: Path) -> None:
    """A certificate that signs itself, for a host whose name is neither ASCII nor UTF-8."""
    key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - dt.timedelta(1)).not_valid_after(now + dt.timedelta(1))
    host = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x04\x82\x02\xe4.")
    write(folder, "tls", Signed(builder.add_extension(host, critical=False).sign(key, hashes.SHA256()), key))


@pytest.mark.parametrize("spoil", [spoil_key, name_no_text])
async def test_what_cannot_be_used_leaves_the_former_certificate_in_place(
    tmp_path: Path, issuer: Issuer, spoil: Callable[[Path], None]
) -> None:
    async with world(tmp_path, ("banking",)) as pool:
        context, certificates = issuer.caller(), pool.door.router._access._certificates
        before, seen = await serial_of(pool, context), certificates._seen
        spoil(tmp_path / "tls")

        async def looked() -> bool:
            return certificates._seen != seen

        await pool.until(looked)
        assert await serial_of(pool, context) == before
        assert (await pool.door.readyz())[0] == 200
        issuer.issue()

        async def taken() -> bool:
            return await serial_of(pool, context) != before

        await pool.until(taken)


async def test_without_a_certificate_nobody_is_served_and_readiness_says_why(tmp_path: Path) -> None:
    pool = Secured(tmp_path, table_document([]))
    pool.write_table()
    pool.write_peers()
    try:
        door = await pool.start("door")

        async def told() -> bool:
            return "CertificateUnusable: tls.crt: No such file" in (await door.readyz())[1]["because"]

        await pool.until(told)
        async with Caller(pool, None) as plain:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(plain.ask(), 0.5)
        context = Issuer.at(tmp_path / "tls").caller()

        async def served() -> bool:
            async with Caller(pool, context) as caller:
                return (await caller.ask())[0] == 503

        await pool.until(served)
    finally:
        await pool.close()


def test_what_is_wrong_with_a_certificate_is_said_in_a_sentence(tmp_path: Path) -> None:
    issuer = Issuer.at(tmp_path / "tls")
    places = TlsPlaces(tmp_path / "tls")
    assert load(places).name == "assistant.team-a.svc"
    issuer.issue(Holder("tls", "assistant", hosts=("*.example.com",)))
    assert load(places).name == "router.example.com"
    issuer.issue(Holder("tls", "assistant", addresses=("10.0.0.1",)))
    assert load(places).name == "10.0.0.1"
    issuer.issue(Holder("tls", "assistant"))
    with pytest.raises(CertificateUnusable, match="unsuitable certificate purpose"):
        load(places)
    issuer.issue()
    shutil.copy(Issuer.at(tmp_path / "other").folder / "tls.key", tmp_path / "tls" / "tls.key")
    with pytest.raises(CertificateUnusable, match="do not go together"):
        load(places)
    (tmp_path / "tls" / "tls.key").unlink()
    with pytest.raises(CertificateUnusable, match="No such file"):
        load(places)
    name_no_text(tmp_path / "tls")
    with pytest.raises(CertificateUnusable, match=r"tls\.crt cannot be read: .*decode byte 0xe4"):
        load(places)


@pytest.mark.parametrize("text", ["Bäckerei, für alle Häuser\n".encode("latin-1"), "подпись\r\n".encode()])
def test_text_in_any_encoding_may_stand_around_a_certificate(issuer: Issuer, text: bytes) -> None:
    file = issuer.folder / "tls.crt"
    file.write_bytes(text + file.read_bytes() + text)
    authority = issuer.folder / "ca.crt"
    authority.write_bytes(text + authority.read_bytes() + text)

    assert load(TlsPlaces(issuer.folder, client_ca=issuer.folder)).name == "assistant.team-a.svc"
