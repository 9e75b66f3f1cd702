"""How the upstream and every peer are started: one worker or thread each, logs off, nothing but the proxying.

nginx and Envoy send on the very bytes that our router takes, and answer with what Triton would. vLLM's
and SGLang's routers and LiteLLM speak protocols of their own: each gets a request with the same text, and
from the same upstream an answer of as many bytes as Triton's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import http_stack
from fastserve.router.oip import infer_body
from peer_load import Call

TEXT = http_stack.TEXT
OUR_PATH = "/v2/models/{name}/infer"
MARK = "the stand-in answers"
"""In every answer of the upstream that has room for words."""
BLOB = http_stack.scores().tobytes()
"""Of Triton's answer."""
Document = dict[str, Any]


@dataclass(frozen=True)
class Program:
    """One server. `files` are written into its folder, in which it runs; `told` is its row's note."""

    command: tuple[str, ...]
    port: int
    files: Mapping[str, bytes]
    told: str = ""


@dataclass(frozen=True)
class Peer:
    name: str
    program: Program
    call: Call


def infer_call(name: str, headers: tuple[tuple[str, str], ...] = ()) -> Call:
    """An infer request for one text, as our door sends it to a member's router."""
    lines, body = infer_body((TEXT,), (1,), ("scores", "labels"))
    pairs = [line.split(": ") for line in lines.decode().split("\r\n") if line]
    return Call(OUR_PATH.format(name=name), body, BLOB, headers=(*((k, v) for k, v in pairs), *headers))


# The upstream.


def triton_answer() -> tuple[bytes, bytes]:
    """JSON head and tensor of a Triton's answer."""
    size = {"binary_data_size": len(BLOB)}
    shape = [1, http_stack.LABELS]
    tensor = {"name": "scores", "datatype": "FP32", "shape": shape, "parameters": size}
    return json.dumps({"model_name": "m", "model_version": "1", "outputs": [tensor]}).encode(), BLOB


def _as_long(document: Document, choice: Document, key: str, length: int) -> bytes:
    """The document as JSON of `length` bytes; `choice[key]`, a part of it, is what fills it up."""
    choice[key] = MARK
    choice[key] = MARK.ljust(len(MARK) + length - len(json.dumps(document)), ".")
    return json.dumps(document).encode()


def other_answers(length: int) -> dict[str, bytes]:
    """By path, what the upstream says to the peers with protocols of their own."""
    message: Document = {"role": "assistant"}
    chat = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    chat_choice = {"index": 0, "message": message, "finish_reason": "stop"}
    text: Document = {"index": 0, "finish_reason": "stop"}
    completion = {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [text]}
    generated: Document = {"meta_info": {}}
    return {
        "/v1/chat/completions": _as_long({**chat, "choices": [chat_choice]}, message, "content", length),
        "/v1/completions": _as_long(completion, text, "text", length),
        "/generate": _as_long(generated, generated, "text", length),
        "/": b"{}",
    }


def _location(path: str, kind: str, body: bytes, more: bytes = b"") -> bytes:
    if set(body) & set(b"'$\\"):
        raise ValueError(f"nginx would read something into the answer of {path}")
    return b"location %b { default_type %b; %breturn 200 '%b'; }\n" % (
        path.encode(),
        kind.encode(),
        more,
        body,
    )


def upstream(nginx: str) -> Program:
    head, blob = triton_answer()
    length = b"add_header Inference-Header-Content-Length %d; " % len(head)
    locations = [_location("/v2/", "application/octet-stream", head + blob, length)]
    answers = other_answers(len(head) + len(blob))
    locations += [_location(path, "application/json", body) for path, body in answers.items()]
    return _nginx(nginx, http_stack.free_port(), b"", b"".join(locations))


def _nginx(program: str, port: int, http: bytes, server: bytes) -> Program:
    scratch = b"".join(
        b"%b_temp_path %b; " % (kind, kind)
        for kind in (b"client_body", b"proxy", b"fastcgi", b"uwsgi", b"scgi")
    )
    config = b"""
daemon off; worker_processes 1; pid nginx.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
%b
%b
server { listen 127.0.0.1:%d; %b }
}
""" % (scratch, http, port, server)
    command = (program, "-e", "stderr", "-p", ".", "-c", "nginx.conf")
    return Program(command, port, {"nginx.conf": config}, "worker_processes 1")


# The peers.


def peers(nginx: str, programs: Path, upstream_port: int) -> list[Peer]:
    """All of them; `programs` is the folder where those of Python's index lie."""
    infer = infer_call("m")
    envoy = str(programs / "envoy")
    return [
        Peer("nginx", nginx_proxy(nginx, upstream_port), infer),
        Peer("Envoy", envoy_proxy(envoy, upstream_port, careful=False), infer),
        Peer("Envoy, its checks on", envoy_proxy(envoy, upstream_port, careful=True), infer),
        Peer("vllm-router", _rust_router((str(programs / "vllm-router"),), upstream_port), _completion()),
        Peer(
            "sglang-router",
            _rust_router((str(programs / "sglang-router"), "launch"), upstream_port),
            _generate(),
        ),
        Peer("LiteLLM", litellm(str(programs / "litellm"), upstream_port), _chat()),
    ]


def _completion() -> Call:
    body = {"model": "m", "prompt": TEXT.decode(), "max_tokens": 1}
    return Call("/v1/completions", json.dumps(body).encode(), MARK.encode())


def _generate() -> Call:
    return Call("/generate", json.dumps({"text": TEXT.decode()}).encode(), MARK.encode())


def _chat() -> Call:
    body = {"model": "m", "messages": [{"role": "user", "content": TEXT.decode()}]}
    return Call("/v1/chat/completions", json.dumps(body).encode(), MARK.encode())


def nginx_proxy(program: str, upstream_port: int) -> Program:
    kept = b"keepalive 64; keepalive_requests 1000000000;"
    http = b"upstream triton { server 127.0.0.1:%d; %b }" % (upstream_port, kept)
    passing = b'proxy_pass http://triton; proxy_http_version 1.1; proxy_set_header Connection "";'
    return _nginx(program, http_stack.free_port(), http, b"location / { %b }" % passing)


def envoy_proxy(program: str, upstream_port: int, *, careful: bool) -> Program:
    """As it comes (statistics, request ids and circuit breakers are on), or `careful`: with admission
    control, health checks, outlier detection and a retry as well."""
    port = http_stack.free_port()
    filters = [_filter("router", "router.v3.Router")]
    route: Document = {"cluster": "triton"}
    cluster: Document = {
        "name": "triton",
        "connect_timeout": "1s",
        "load_assignment": _endpoint(upstream_port),
    }
    if careful:
        good = {"http_success_status": [{"start": 200, "end": 500}]}
        criteria = {"success_criteria": {"http_criteria": good}}
        filters.insert(0, _filter("admission_control", "admission_control.v3.AdmissionControl", criteria))
        route["retry_policy"] = {"retry_on": "connect-failure,reset-before-request", "num_retries": 1}
        times = {"timeout": "1s", "interval": "1s", "unhealthy_threshold": 3, "healthy_threshold": 1}
        cluster["health_checks"] = [{**times, "http_health_check": {"path": "/v2/health/ready"}}]
        cluster["outlier_detection"] = {"consecutive_5xx": 5, "max_ejection_percent": 50}
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
    connections = {
        "@type": _type("network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": filters,
    }
    chain = {"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}
    listener = {"address": _address(port), "filter_chains": [{"filters": [chain]}]}
    document = {"static_resources": {"listeners": [listener], "clusters": [cluster]}}
    command = (program, "-c", "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "off")
    return Program(command, port, {"envoy.json": json.dumps(document).encode()}, "--concurrency 1")


def _type(name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.filters.{name}"


def _filter(name: str, kind: str, fields: Document | None = None) -> Document:
    config = {"@type": _type(f"http.{kind}"), **(fields or {})}
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}


def _address(port: int) -> Document:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _endpoint(port: int) -> Document:
    return {
        "cluster_name": "triton",
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
    }


def _rust_router(program: tuple[str, ...], upstream_port: int) -> Program:
    port, metrics = http_stack.free_port(), http_stack.free_port()
    command = (
        *(*program, "--host", "127.0.0.1", "--port", str(port), "--policy", "round_robin"),
        *("--worker-urls", f"http://127.0.0.1:{upstream_port}", "--log-level", "error"),
        *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(metrics)),
    )
    return Program(command, port, {}, "TOKIO_WORKER_THREADS=1, round_robin")


def litellm(program: str, upstream_port: int) -> Program:
    port = http_stack.free_port()
    model = {"model": "openai/m", "api_base": f"http://127.0.0.1:{upstream_port}/v1", "api_key": "none"}
    document = {
        "model_list": [{"model_name": "m", "litellm_params": model}],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
        "general_settings": {"dangerously_permit_weak_or_unset_master_key": True},
    }
    command = (
        program,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--config",
        "config.yaml",
        "--num_workers",
        "1",
    )
    return Program(command, port, {"config.yaml": json.dumps(document).encode()}, "--num_workers 1")
