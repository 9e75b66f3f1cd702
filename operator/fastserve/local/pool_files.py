"""The files of one pool that processes exchange: its route table, who serves it, what is wanted, how versions
stand, how many replicas are to run."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from fastserve.api.routes import RouteTable
from fastserve.local.documents import Exchanges, RouterPlace, WantedPool
from fastserve.local.files import write_whole
from fastserve.router.peers import Peer, PeerList

TABLE, PEERS, WANTED, EXCHANGES = "routes.json", "peers.json", "wanted.json", "exchanges.json"
SCALE, STATE_KEY = "scale.json", "state.key"


def write_table(folder: Path, table: RouteTable) -> None:
    write_whole(folder / TABLE, table.model_dump_json(by_alias=True, indent=2))


def read_table(folder: Path) -> RouteTable:
    """Raises OSError where there is none, ValueError where it is none."""
    return RouteTable.model_validate_json((folder / TABLE).read_text(encoding="utf-8"))


def write_peers(folder: Path, routers: Iterable[RouterPlace]) -> None:
    peers = PeerList(
        peers=tuple(
            Peer(instance=place.instance, member=place.member, address=place.data, admin=place.admin)
            for place in routers
        )
    )
    write_whole(folder / PEERS, msgspec.json.encode(peers).decode())


def write_wanted(folder: Path, wanted: WantedPool) -> None:
    write_whole(folder / WANTED, wanted.model_dump_json(by_alias=True, indent=2))


def read_wanted(folder: Path) -> WantedPool:
    """Raises OSError where there is none, ValueError where it is none."""
    return WantedPool.model_validate_json((folder / WANTED).read_text(encoding="utf-8"))


def write_state_key(folder: Path, key: str) -> None:
    """The key with which commands read what the pool's routers tell; for the own user only."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / STATE_KEY
    path.touch(mode=0o600)
    path.write_text(key, encoding="ascii")


def shown_state_key(folder: Path) -> str:
    """What the authorization header says with that key; empty where the pool asks for none."""
    path = folder / STATE_KEY
    return f"Bearer {path.read_text(encoding='ascii')}" if path.exists() else ""


def write_exchanges(folder: Path, exchanges: Exchanges) -> None:
    write_whole(folder / EXCHANGES, exchanges.model_dump_json(by_alias=True, indent=2))


def read_exchanges(folder: Path) -> Exchanges:
    """What was decided last; nothing where nothing was yet."""
    try:
        return Exchanges.model_validate_json((folder / EXCHANGES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return Exchanges()
