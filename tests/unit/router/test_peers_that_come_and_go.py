"""What is told of a sub-model's health as its peers come and go."""

import asyncio

from fastserve.router.health import HealthState
from fastserve.router.peers import Peer, Peers
from virtual_time import run_in_virtual_time


class Listed:
    """PeerSource that tells each list once."""

    def __init__(self) -> None:
        self.next: tuple[Peer, ...] | None = (Peer("one", "127.0.0.1:1", "127.0.0.1:2", "m"),)

    def changed(self) -> tuple[Peer, ...] | None:
        found, self.next = self.next, None
        return found


def test_a_sub_model_whose_last_peer_left_the_list_is_not_told_to_be_healthy_for_ever() -> None:
    health: dict[str, bool] = {}

    async def story() -> None:
        peers, listed = Peers("me", health.__setitem__), Listed()
        async with asyncio.TaskGroup() as group:
            loops = [group.create_task(peers.watch(listed)), group.create_task(peers.probe())]
            await asyncio.sleep(0.01)
            peers.replicas["one"].health = HealthState("Healthy", 0, 1e9)
            await asyncio.sleep(0.5)
            assert health == {"m": True}
            listed.next = ()
            await asyncio.sleep(1.0)
            for loop in loops:
                loop.cancel()

    run_in_virtual_time(story())
    assert health == {"m": False}
