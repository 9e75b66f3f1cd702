from pathlib import Path

import pytest

from fastserve.engine.devices import count_present, place, visible_entries
from fastserve.engine.orders import rank_environment
from fastserve.errors import DeviceMissing, EngineError


def test_ranks_on_the_cpu_are_joined_by_gloo_and_see_no_gpu() -> None:
    placement = place(["cpu", "cpu"], ["0"], allow_cpu=False)
    assert placement.backend == "gloo"
    assert [(d.name, d.torch_name, d.entry) for d in placement.devices] == [("cpu", "cpu", "")] * 2


def test_a_rank_is_pinned_by_the_entry_that_the_parent_sees() -> None:
    placement = place(["cuda:1", "cuda:0"], ["GPU-aaaa", "GPU-bbbb"], allow_cpu=False)
    assert placement.backend == "nccl"
    assert [d.entry for d in placement.devices] == ["GPU-bbbb", "GPU-aaaa"]
    assert {d.torch_name for d in placement.devices} == {"cuda:0"}


def test_a_gpu_that_is_not_visible_is_missing() -> None:
    with pytest.raises(DeviceMissing, match="cuda:1 asked for, but 1 GPUs are visible"):
        place(["cuda:0", "cuda:1"], ["0"], allow_cpu=False)


def test_the_cpu_takes_over_for_all_ranks_where_that_is_allowed() -> None:
    placement = place(["cuda:0", "cuda:1"], ["0"], allow_cpu=True)
    assert (placement.backend, [d.name for d in placement.devices]) == ("gloo", ["cpu", "cpu"])


@pytest.mark.parametrize(
    ("asked", "because"),
    [
        (["cpu", "cuda:0"], "cannot form one group"),
        (["cuda:0", "cuda:0"], "cannot share one GPU"),
        (["tpu"], "is not a device"),
        (["cuda:x"], "is not a device"),
    ],
)
def test_groups_that_cannot_be_are_refused(asked: list[str], because: str) -> None:
    with pytest.raises(EngineError, match=because):
        place(asked, ["0", "1"], allow_cpu=True)


@pytest.mark.parametrize(
    ("variable", "present", "entries"),
    [
        (None, 2, ("0", "1")),
        (None, 0, ()),
        ("", 2, ()),
        ("-1", 2, ()),
        ("1,0", 2, ("1", "0")),
        ("0,7,1", 2, ("0",)),  # CUDA stops at the first that is not there
        ("GPU-8f6d,MIG-11", 1, ("GPU-8f6d", "MIG-11")),
        ("GPU-8f6d", 0, ()),
        (" 0 , 1 ", 2, ("0", "1")),
    ],
)
def test_visible_devices_are_those_that_cuda_shows(
    variable: str | None, present: int, entries: tuple[str, ...]
) -> None:
    environ = {} if variable is None else {"CUDA_VISIBLE_DEVICES": variable}
    assert visible_entries(environ, present) == entries


def test_device_nodes_are_counted_without_control_devices(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for node in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / "dev" / node).touch()
    assert count_present(tmp_path) == 2


def test_the_drivers_list_counts_where_there_are_no_nodes(tmp_path: Path) -> None:
    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    assert count_present(tmp_path) == 1
    assert count_present(tmp_path / "nothing") == 0


def test_a_rank_gets_none_of_tritons_own_paths() -> None:
    device = place(["cuda:0"], ["GPU-aaaa"], allow_cpu=False).devices[0]
    environ = {"LD_LIBRARY_PATH": "x", "PYTHONPATH": "y", "PYTHONHOME": "z", "PATH": "p"}
    environ["CUDA_VISIBLE_DEVICES"] = "GPU-aaaa,GPU-bbbb"
    given = rank_environment(environ, device, threads=3)
    assert not {"LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONHOME", "GLOO_SOCKET_IFNAME"} & given.keys()
    assert (given["PATH"], given["CUDA_VISIBLE_DEVICES"], given["OMP_NUM_THREADS"]) == ("p", "GPU-aaaa", "3")


def test_a_rank_on_the_cpu_talks_over_loopback_only() -> None:
    device = place(["cpu"], [], allow_cpu=False).devices[0]
    given = rank_environment({}, device, threads=1)
    assert (given["GLOO_SOCKET_IFNAME"], given["CUDA_VISIBLE_DEVICES"]) == ("lo", "")
