from pathlib import Path

from cluster import leavings
from cluster.leavings import TASKS
from cluster.places import Node


def test_sockets_of_killed_shims_go_and_an_address_that_was_never_written_stops_nothing(
    tmp_path: Path,
) -> None:
    node, socket = Node(1, tmp_path / "node-1"), tmp_path / "shim.sock"
    socket.touch()
    for name, address in (("a", ""), ("b", f"unix://{socket}\n"), ("c", f"unix://{tmp_path}/gone")):
        task = node.containerd_state / TASKS / name
        task.mkdir(parents=True)
        (task / "address").write_text(address)

    leavings._remove_sockets_of_shims(node)

    assert not socket.exists()
