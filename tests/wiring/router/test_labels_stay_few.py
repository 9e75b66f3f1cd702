"""Labels of metrics hold words of ours: one that a caller could write would fill a memory."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fastserve.router.answers import STATUS
from wiring.router.router_world import world

ALLOWED = {
    "code": {str(code) for code in (200, *STATUS.values())},
    "reason": {"", *STATUS},
    "submodel": {"banking", ""},
    "pool": {"assistant"},
    "router": {"banking", "door"},
    "decision": {"Selected", "Fallback", "Direct"},
    "priority": {"interactive", "batch"},
    "state": {"asked", "unasked"},
    "outcome": {"answered", "failed", "denied", "late", "unreachable", "delivered", "dropped"},
}


async def test_whatever_is_asked_labels_keep_to_words_of_ours(tmp_path: Path) -> None:
    async with world(tmp_path, ["banking"]) as pool:
        good = {"text": "what is my account balance"}
        for at in range(5):
            junk = f"junk{at}"
            await pool.door.post("/v1/predict", good, f"x-request-id: {junk}\r\n")
            await pool.door.post("/v1/predict", good, f"x-fastserve-priority: {junk}\r\n")
            await pool.door.post("/v1/predict", {**good, "subModel": junk})
            await pool.door.post("/v1/predict", {junk: junk})
            await pool.door.post(f"/{junk}", good)
            await pool.door.get(f"/v2/models/{junk}?{junk}")
        found: dict[str, set[str]] = {}
        for node in pool.nodes.values():
            text = (await node.admin.get("/metrics", 10.0)).body.decode()
            assert "junk" not in text
            for family in text_string_to_metric_families(text):
                for sample in family.samples:
                    for name, value in sample.labels.items():
                        found.setdefault(name, set()).add(value)

        assert found.keys() <= {*ALLOWED, "le"}
        assert {name: values - ALLOWED[name] for name, values in found.items() if name != "le"} == {
            name: set() for name in found if name != "le"
        }
        assert {"ModelUnknown", "PathUnknown", "OutOfRange", "UnknownField"} <= found["reason"]
