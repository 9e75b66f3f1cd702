"""From files to plans: reads the YAML and the checkpoints it names, and asks the planner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fastserve.api.manifests import ManifestErrors, Manifests, Problem, check_set, parse, resolve_uris
from fastserve.api.modelpool import ModelPool
from fastserve.api.submodel import SubModel
from fastserve.errors import CheckpointError, LocalError
from fastserve.local.checkpoints import read_facts
from fastserve.planning.facts import CheckpointFacts, EngineHome, Machine
from fastserve.planning.plan import PoolPlan, plan


@dataclass(frozen=True)
class Wanted:
    """What the files ask for, valid by itself and as a set."""

    pools: tuple[ModelPool, ...]
    sub_models: tuple[SubModel, ...]

    def members_of(self, pool: ModelPool) -> tuple[SubModel, ...]:
        return tuple(s for s in self.sub_models if s.spec.pool_ref.name == pool.metadata.name)


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The YAML files that are named, and those in the folders that are named."""
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files.extend(sorted(f for f in path.iterdir() if f.suffix in (".yaml", ".yml")))
        elif path.is_file():
            files.append(path)
        else:
            raise LocalError(f"{path}: no such file or folder")
    if not files:
        raise LocalError(f"No *.yaml file in {', '.join(map(str, paths))}")
    return files


def read(paths: Sequence[Path]) -> Wanted:
    """Parse and check all files; raises ManifestErrors with every problem of every file."""
    problems: list[Problem] = []
    parts: list[Manifests] = []
    for file in files_of(paths):
        try:
            parts.append(parse(file.read_text(encoding="utf-8"), str(file)))
        except ManifestErrors as errors:
            problems.extend(errors.problems)
        except UnicodeDecodeError as error:
            problems.append(Problem(file=str(file), line=1, path="", message=f"not UTF-8: {error.reason}"))
    if not problems:
        problems.extend(check_set(parts))
    if problems:
        raise ManifestErrors(tuple(problems))
    return _wanted(parts)
