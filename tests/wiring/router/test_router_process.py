"""The process itself: its help, its exit codes, its end."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import fastserve
from wiring.router.router_world import free_port


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fastserve.router", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def settings(folder: Path, **changes: object) -> str:
    document = {
        "pool": "assistant",
        "instance": "door",
        "data_port": free_port(),
        "admin_port": free_port(),
        "table_path": str(folder / "table.json"),
        "peers_path": str(folder / "peers.json"),
        "run_path": str(folder),
        "prototypes_path": str(folder),
        "encoder_path": str(folder),
        "drain_seconds": 2,
        **changes,
    }
    path = folder / "settings.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_help_tells_the_exit_codes() -> None:
    shown = run("--help")

    assert shown.returncode == 0
    assert "--settings FILE" in shown.stdout
    assert "--settings-json JSON" in shown.stdout
    assert "3 for" in " ".join(shown.stdout.split())


def test_a_port_that_is_taken_ends_it_with_3_and_names_the_port(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        ended = run("--settings", settings(tmp_path, admin_port=port))

    assert ended.returncode == 3
    assert ended.stderr.strip() == (
        f"PortTaken: 127.0.0.1:{port} cannot be listened on: Address already in use"
    )


def test_settings_or_an_encoder_that_cannot_be_used_end_it_with_2(tmp_path: Path) -> None:
    no_settings = run("--settings", str(tmp_path / "none.json"))
    no_encoder = run("--settings", settings(tmp_path))

    assert (no_settings.returncode, no_encoder.returncode) == (2, 2)
    assert "none.json cannot be read" in no_settings.stderr
    assert "CheckpointInvalid: the encoder in" in no_encoder.stderr


def test_sigterm_drains_and_ends_it_with_0(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    path = settings(tmp_path)
    port = json.loads(Path(path).read_text())["admin_port"]
    command = [sys.executable, "-m", "fastserve.router", "--settings", path]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert b'"live":true' in get(port, "/livez")
        process.send_signal(signal.SIGTERM)
        _, logs = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()

    assert process.returncode == 0
    lines = [json.loads(line) for line in logs.splitlines()]
    assert [line["message"] for line in lines[-2:]] == ["draining", "drained"]
    assert {line["instance"] for line in lines} == {"door"}


def test_settings_can_be_given_in_the_argument_itself(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    document = Path(settings(tmp_path)).read_text()
    port = json.loads(document)["admin_port"]
    command = [sys.executable, "-m", "fastserve.router", "--settings-json", document]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        assert b'"live":true' in get(port, "/livez")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    both = run("--settings", "a", "--settings-json", "{}")
    bad = run("--settings-json", '{"pool": 3}')
    assert (both.returncode, bad.returncode) == (2, 2)
    assert "InvalidSpec: settings: --settings-json: Expected `str`, got `int`" in bad.stderr


def test_a_cluster_that_nobody_can_log_in_to_ends_it_with_2(tmp_path: Path) -> None:
    write_encoder(tmp_path)
    document = json.loads(Path(settings(tmp_path)).read_text())
    place = {"namespace": "team-a", "routes": "news-p-routes"}
    text = json.dumps({**document, "cluster": place})
    command = [sys.executable, "-m", "fastserve.router", "--settings-json", text]
    nowhere = {"KUBECONFIG": str(tmp_path / "none"), "PATH": "/usr/bin:/bin"}

    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=nowhere, check=False)

    assert ended.returncode == 2
    assert "ApiUnreachable: there is no way to log in" in ended.stderr


def test_a_router_on_one_machine_loads_no_kubernetes_client() -> None:
    code = "import sys, fastserve.router.__main__; print({'kubernetes', 'aiohttp'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout == "set()\n"


def test_the_drain_command_needs_no_package(tmp_path: Path) -> None:
    package = Path(fastserve.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(package)!r}); from fastserve.engine.drain import main; "
    code += f"sys.exit(main([{str(tmp_path / 'none.sock')!r}]))"

    bare = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )

    assert (bare.returncode, bare.stderr) == (0, "")
    assert bare.stdout.startswith("not drained: ")


def get(port: int, path: str) -> bytes:
    """The whole answer; the port may not be open yet."""
    end = time.monotonic() + 30
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 30) as sock:
                sock.sendall(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
                answer = b""
                while part := sock.recv(65536):
                    answer += part
                return answer
        except ConnectionRefusedError:
            assert time.monotonic() < end
            time.sleep(0.05)


def write_encoder(folder: Path) -> None:
    """A tiny ONNX encoder with the real one's face: mean of one-hot token ids, of unit length."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    words = {word: i for i, word in enumerate(["[UNK]", "flight", "bank"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    table = numpy_helper.from_array(np.eye(3, 8, dtype=np.float32), "table")
    axis = numpy_helper.from_array(np.array([1], np.int64), "axis")
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
        helper.make_node("Mul", ["rows", "mask3"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "axis"], ["summed"], keepdims=0),
        helper.make_node("LpNormalization", ["summed"], ["embedding"], axis=1, p=2),
    ]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [
            helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 8])],
        [table, axis, numpy_helper.from_array(np.array([2], np.int64), "last")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    card = {"digest": "tiny", "dimension": 8, "maxTokens": 16}
    (folder / "encoder.json").write_text(json.dumps(card))


def test_the_onnx_encoder_pads_truncates_and_gives_unit_vectors(tmp_path: Path) -> None:
    import numpy as np

    from fastserve.router.encoder import OnnxEncoder

    write_encoder(tmp_path)
    encoder = OnnxEncoder(tmp_path, 1)

    rows = encoder.encode(["flight", "bank bank bank flight"], 64)
    cut = encoder.encode(["bank bank bank flight"], 3)

    assert np.allclose(np.linalg.norm(rows, axis=1), 1.0)
    assert rows[0].tolist()[:3] == [0.0, 1.0, 0.0]
    assert rows[1][1] > 0.3
    assert cut[0].tolist()[:3] == [0.0, 0.0, 1.0]
    assert encoder.digest == "tiny"
