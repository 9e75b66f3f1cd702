"""Whole plans, compared with checked-in files.

Every folder that holds a pool's YAML is a case: the one under ``golden/`` and each under ``examples/``.
After a change that is meant, write the files again and read the difference:

    PYTHONPATH=tests python tests/unit/planning/test_golden_plans.py
"""

import json
from pathlib import Path

import pytest

from fastserve.api.manifests import check_set, parse, resolve_uris
from fastserve.planning.plan import PoolPlan, plan
from make import checkpoint, machine, surroundings

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
EXAMPLES = HERE.parents[2] / "examples"
WRITTEN_IN = "/srv/fastserve"
"""Where the YAML files are taken to lie, so that the plans name no folder of this machine."""


def cases() -> dict[str, list[Path]]:
    """Case name to its YAML files."""
    folders = [GOLDEN / "two-languages", *EXAMPLES.glob("*/")]
    return {folder.name: found for folder in sorted(folders) if (found := sorted(folder.glob("*.yaml")))}


def plans(files: list[Path]) -> list[PoolPlan]:
    manifests = [parse(file.read_text(encoding="utf-8"), file.name) for file in files]
    assert check_set(manifests) == ()
    pools = [pool for one in manifests for pool in one.pools]
    members = [resolve_uris(member, WRITTEN_IN) for one in manifests for member in one.sub_models]
    facts = {
        member.metadata.name: checkpoint(digest=f"digest-of-{member.metadata.name}") for member in members
    }
    return [plan(pool, members, surroundings(on=machine(cpus=2, gpus=("0", "1")), **facts)) for pool in pools]


def golden_files(made: PoolPlan) -> dict[str, str]:
    """Relative path to text. Triton's files stand by themselves, so that they are read as what they are."""
    name = made.table.pool
    table = made.table.model_dump(mode="json", by_alias=True)
    files: dict[str, str] = {}
    for member in table["members"]:
        triton = member["target"].pop("files")
        files.update({f"{name}/{member['name']}/{path}": text for path, text in triton.items()})
        examples = member["meaning"].pop("examples")
        member["meaning"]["exampleCount"] = len(examples)
    files[f"{name}/routes.json"] = json.dumps(table, indent=2) + "\n"
    files[f"{name}/plan.txt"] = _summary(made)
    return files


def _summary(made: PoolPlan) -> str:
    lines = [made.because]
    for one in made.instances:
        mib = one.estimated_bytes >> 20
        gpus = f" of GPUs {', '.join(one.layout.gpus)}" if one.layout.gpus else ""
        lines.append(f"{one.sub_model}-{one.replica}: {', '.join(one.layout.devices)}{gpus}; about {mib} MiB")
    return "\n".join(lines) + "\n"


def expected_folder(case: str) -> Path:
    return GOLDEN / case / "expected"


@pytest.mark.parametrize("case", list(cases()))
def test_the_plan_is_the_one_that_is_checked_in(case: str) -> None:
    folder = expected_folder(case)
    made = {path: text for one in plans(cases()[case]) for path, text in golden_files(one).items()}
    found = {
        str(file.relative_to(folder)): file.read_text(encoding="utf-8")
        for file in folder.rglob("*")
        if file.is_file()
    }
    assert made == found


def write() -> None:
    for case, yaml_files in cases().items():
        for one in plans(yaml_files):
            for path, text in golden_files(one).items():
                file = expected_folder(case) / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
