"""The doors as OpenAPI 3.1, from the wire's structs: ``python -m fastserve.router.openapi [--check]``.

Written to docs/openapi.yaml; with --check it writes nothing and exits 1 where the file is not up to date.
The Open Inference Protocol's own paths are specified elsewhere and not repeated here.
"""

import argparse
import io
import sys
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

from fastserve import __version__
from fastserve.api.scaling import LoadReport
from fastserve.api.state import RouterState
from fastserve.router.answers import PHRASES, STATUS
from fastserve.router.predicting import WOKEN_HEADER
from fastserve.router.wire import ErrorAnswer, PredictAnswer, PredictRequest, Readiness, RouteAnswer

PREFIX = "#/components/schemas/"
PATH = Path("docs/openapi.yaml")
_DATA_ERRORS = (400, 401, 403, 404, 405, 413, 422, 429, 500, 503, 504)


def document() -> dict[str, Any]:
    """The whole OpenAPI document."""
    kinds = (PredictRequest, PredictAnswer, RouteAnswer, ErrorAnswer, Readiness)
    _, schemas = msgspec.json.schema_components(kinds, ref_template=PREFIX + "{name}")
    for kind in (RouterState, LoadReport):
        schema = kind.model_json_schema(ref_template=PREFIX + "{model}", by_alias=True)
        schemas.update(schema.pop("$defs"))
        schemas[kind.__name__] = schema
    return {
        "openapi": "3.1.0",
        "info": {"title": "FastServe router", "version": __version__, "description": _description()},
        "paths": {
            "/v1/predict": {"post": _woken(_asked("Answer a text", "PredictAnswer"))},
            "/v1/route": {"post": _asked("Explain who would answer a text; runs nothing", "RouteAnswer")},
            "/v1/state": {"get": _told("Admin port: what this router knows", "RouterState")},
            "/v1/load": {"get": _told("Admin port: load of the last half minute", "LoadReport")},
            "/v1/load/history": {"get": _told("Admin port: load of the last ten minutes", "LoadReport")},
            "/v1/prototypes/{key}": {"get": _prototypes()},
            "/readyz": {"get": _told("Admin port: whether requests should come here", "Readiness", 503)},
            "/livez": {"get": {"summary": "Admin port: the process runs", "responses": _good(None)}},
            "/metrics": {"get": {"summary": "Admin port: Prometheus metrics", "responses": _text()}},
        },
        # Pools without spec.router.auth ask for nothing.
        "security": [{}, {"bearer": []}, {"apiKey": []}],
        "components": {
            "schemas": dict(sorted(schemas.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def _description() -> str:
    reasons: dict[int, list[str]] = {}
    for reason, status in STATUS.items():
        reasons.setdefault(status, []).append(reason)
    lines = [f"- {status}: {', '.join(sorted(names))}" for status, names in sorted(reasons.items())]
    return "Reasons of errors, by status:\n" + "\n".join(lines) + "\n"


def _content(schema: str) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": PREFIX + schema}}}


def _good(schema: str | None) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": PHRASES[200]}
    if schema is not None:
        answer["content"] = _content(schema)
    return {"200": answer}


def _text() -> dict[str, Any]:
    return {"200": {"description": PHRASES[200], "content": {"text/plain": {"schema": {"type": "string"}}}}}


def _prototypes() -> dict[str, Any]:
    key = {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}}
    rows = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    missing = {"description": PHRASES[404], "content": _content("ErrorAnswer")}
    return {
        "summary": "Admin port: the prototypes in use under a key of prototypeKeys, as .npy, fp16 [n, d]",
        "parameters": [key],
        "responses": {"200": {"description": PHRASES[200], "content": rows}, "404": missing},
    }


def _asked(summary: str, schema: str) -> dict[str, Any]:
    errors = {
        str(status): {"description": PHRASES[status], "content": _content("ErrorAnswer")}
        for status in _DATA_ERRORS
    }
    headers = [
        _header("x-request-id", "Echoed; made where it is missing", {"type": "string"}),
        _header("x-fastserve-deadline-millis", "As deadlineMillis, which wins", {"type": "integer"}),
    ]
    return {
        "summary": summary,
        "parameters": headers,
        "requestBody": {"required": True, "content": _content("PredictRequest")},
        "responses": {**_good(schema), **errors},
    }


def _woken(operation: dict[str, Any]) -> dict[str, Any]:
    """The operation, whose good answer says which sub-models it waited for."""
    header = {
        "description": "Names of sub-models that slept until this request woke them, where any did",
        "schema": {"type": "string"},
    }
    operation["responses"]["200"]["headers"] = {WOKEN_HEADER: header}
    return operation


def _told(summary: str, schema: str, *others: int) -> dict[str, Any]:
    more = {str(s): {"description": PHRASES[s], "content": _content(schema)} for s in others}
    return {"summary": summary, "responses": {**_good(schema), **more}}


def _header(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "header", "description": description, "schema": schema}


def render() -> str:
    """The document as YAML."""
    yaml = YAML()
    yaml.width = 110
    out = io.StringIO()
    yaml.dump(document(), out)
    return "# Generated by python -m fastserve.router.openapi; do not edit.\n" + out.getvalue()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fastserve.router.openapi", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 where it is not up to date"
    )
    text = render()
    if not parser.parse_args().check:
        PATH.write_text(text, encoding="utf-8")
        return 0
    if PATH.is_file() and PATH.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PATH} is not up to date: run python -m fastserve.router.openapi", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
