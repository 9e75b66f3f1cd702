import json
from pathlib import Path

from cluster import images, leavings
from cluster.binaries import BINARIES, cache_key, cached
from cluster.image_store import outdated, written_files
from cluster.places import CHECKOUT, GO_MODULES, Places


def module(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "go.mod").write_text("module x")
    (folder / "go.sum").write_text("")
    (folder / "main.go").write_text("package main")
    return folder


def test_the_key_of_a_binary_changes_with_pins_sources_and_flags_alone(tmp_path: Path) -> None:
    folder = module(tmp_path / "m")
    first = cache_key(folder, "-s")
    (folder / "README.md").write_text("words")
    assert cache_key(folder, "-s") == first
    keys = {first, cache_key(folder, "-w")}
    for name in ("go.mod", "go.sum", "main.go"):
        module(folder)
        (folder / name).write_text("changed")
        keys.add(cache_key(folder, "-s"))
    assert len(keys) == 5


def test_every_binary_has_pins_that_are_checked_in() -> None:
    for binary in BINARIES:
        assert (GO_MODULES / binary.module / "go.mod").exists(), binary.name
        assert cached(Path("/cache"), binary).name == binary.name


def test_the_tag_of_an_image_changes_with_content_mode_and_name_but_not_with_bytecode(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "a.py").write_text("1")
    keys = [images.content_key(tmp_path, ("code",))]
    (code / "__pycache__").mkdir()
    (code / "__pycache__" / "a.pyc").write_text("x")
    assert images.content_key(tmp_path, ("code",)) == keys[0]
    (code / "a.py").write_text("2")
    keys.append(images.content_key(tmp_path, ("code",)))
    (code / "a.py").chmod(0o755)
    keys.append(images.content_key(tmp_path, ("code",)))
    (code / "a.py").rename(code / "b.py")
    keys.append(images.content_key(tmp_path, ("code",)))
    keys.append(images.content_key(tmp_path, ("code",), "another engine"))
    assert len(set(keys)) == 5


def test_the_inputs_of_every_image_exist() -> None:
    for image in (images.ENGINE, *images.ON_NODES):
        for name in (image.dockerfile, *image.inputs):
            assert (CHECKOUT / name).exists(), (image.name, name)


def test_only_an_image_that_needs_the_engine_is_told_where_it_is() -> None:
    router = images.build_command(CHECKOUT, images.ROUTER, "localhost/r:dev-1", "localhost/engine:1")
    operator = images.build_command(CHECKOUT, images.OPERATOR, "localhost/o:dev-1", "localhost/engine:1")
    assert "--build-arg=ENGINE_IMAGE=localhost/engine:1" in router
    assert not [word for word in operator if "ENGINE_IMAGE" in word]


def test_the_newest_two_of_a_repository_are_kept() -> None:
    listed = ["localhost/a:dev-3", "localhost/b:dev-9", "localhost/a:dev-2", "localhost/a:dev-1"]
    assert outdated(listed, "localhost/a") == {"localhost/a:dev-1"}


def test_an_archive_holds_what_was_written_and_none_of_the_links(tmp_path: Path) -> None:
    blobs = tmp_path / "layout" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    (tmp_path / "held").write_text("held")
    (blobs / "old").symlink_to(tmp_path / "held")
    (blobs / "new").write_text("new")
    (tmp_path / "layout" / "index.json").write_text("{}")
    assert [path.name for path in written_files(tmp_path / "layout")] == ["new", "index.json"]


def test_mounts_are_undone_from_the_deepest_up_and_none_but_ours() -> None:
    table = """20 1 8:1 / / rw - ext4 /dev/root rw
21 20 0:5 / /state/node-1/run/x rw - overlay overlay rw
22 21 0:6 / /state/node-1/run/x/shm\\040y rw - tmpfs shm rw
23 20 0:7 / /state/node-10/run rw - tmpfs t rw"""
    assert leavings.mounts_below(Path("/state/node-1"), table) == [
        "/state/node-1/run/x/shm y",
        "/state/node-1/run/x",
    ]


def test_a_shim_is_ours_by_the_socket_that_it_was_given(tmp_path: Path) -> None:
    node = Places(Path("/cache"), Path("/state")).node(1)
    commands = {
        "10": ["/usr/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-address", str(node.socket)],
        "11": ["/usr/bin/containerd-shim-runc-v2", "-address", "/run/containerd/containerd.sock"],
        "12": ["ctr", "--address", str(node.socket)],
        "self": ["containerd-shim", str(node.socket)],
    }
    for pid, words in commands.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_text("\0".join(words) + "\0")
    assert leavings.pids_of_shims(node, tmp_path) == [10]


def test_a_network_namespace_is_found_in_what_the_plugins_wrote_down() -> None:
    result = {"interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/var/run/netns/cni-1"}]}
    assert leavings.sandboxes(json.dumps({"result": result})) == [Path("/var/run/netns/cni-1")]
    assert leavings.sandboxes('{"result": {"interf') == []


def test_the_containers_of_a_node_are_those_that_its_containerd_has_a_folder_for(tmp_path: Path) -> None:
    node = Places(tmp_path, tmp_path).node(1)
    tasks = node.containerd_state / "io.containerd.runtime.v2.task"
    (tasks / "k8s.io" / "abc").mkdir(parents=True)
    (tasks / "moby" / "of-another").mkdir(parents=True)
    assert leavings.container_ids(node) == ["abc"]
