"""Ports are allotted once, and what cannot be had is said."""

import socket

import pytest

from fastserve.errors import LocalError
from fastserve.local.ports import door_ports, free_ports


def test_free_ports_differ_from_each_other_and_from_those_left_out() -> None:
    left_out = free_ports(3)
    ports = free_ports(40, but=left_out)
    assert len(set(ports) - set(left_out)) == 40


def test_doors_follow_each_other_and_zero_takes_any() -> None:
    first = free_ports(1)[0]
    assert door_ports(first, 1) == [first]
    assert 0 not in door_ports(0, 3)
    assert len(set(door_ports(0, 3))) == 3


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalError, match=f"Port {port} of 127.0.0.1 is taken"):
            door_ports(port, 1)


def test_there_is_no_port_after_the_last() -> None:
    with pytest.raises(LocalError, match="65535 is the last"):
        door_ports(65535, 2)
