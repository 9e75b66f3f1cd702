"""Argo CD's health of an object: its script in Lua 5.1, with nothing but what Argo CD lets it use."""

from pathlib import Path
from typing import Any

from lupa.lua51 import LuaRuntime

HEALTH = Path(__file__).parents[1] / "examples" / "argocd" / "resource_customizations"
ABSENT = (
    "string", "io", "math", "debug", "coroutine", "require", "python", "dofile", "loadfile", "loadstring",
)  # fmt: skip
"""Globals that Lua brings and Argo CD's interpreter has not."""
Health = tuple[str, str]


def lua_of(runtime: Any, value: Any) -> Any:
    """Tables from what YAML reads; a null is an absent field."""
    if isinstance(value, dict):
        return runtime.table_from({k: lua_of(runtime, v) for k, v in value.items() if v is not None})
    if isinstance(value, list | tuple):
        return runtime.table_from([lua_of(runtime, item) for item in value])
    return value


def health_of(manifest: dict[str, Any], kind: str = "") -> Health:
    """Status and message that the script of the manifest's kind answers."""
    group = manifest["apiVersion"].partition("/")[0]
    script = HEALTH / group / (kind or manifest["kind"]) / "health.lua"
    runtime = LuaRuntime(register_eval=False, register_builtins=False)
    for name in ABSENT:
        runtime.globals()[name] = None
    runtime.globals().obj = lua_of(runtime, manifest)
    answer = runtime.execute(script.read_text(encoding="utf-8"))
    return answer["status"], answer["message"]
