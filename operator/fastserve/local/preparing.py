"""From files to plans: reads the YAML and the checkpoints it names, and asks the planner."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastserve.api.identity import digest_of
from fastserve.api.manifests import ManifestErrors, Manifests, Problem, check_set, parse, resolve_uris
from fastserve.api.modelpool import ModelPool
from fastserve.api.routes import Meaning
from fastserve.api.submodel import EngineType, SubModel
from fastserve.errors import CheckpointError, InvalidSpec, LocalError
from fastserve.local.checkpoints import read_custom_facts, read_facts
from fastserve.local.documents import AccessFolders, WantedPool
from fastserve.local.environment import Environment
from fastserve.planning.facts import CheckpointFacts, EngineHome, Machine, Surroundings
from fastserve.planning.memory import instance_bytes
from fastserve.planning.plan import PoolPlan, plan, what_is_left
from fastserve.router.prototype_files import read_examples


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
            parts.append(parse(_text(file), str(file)))
        except ManifestErrors as errors:
            problems.extend(errors.problems)
    problems.extend([] if problems else check_set(parts))
    if problems:
        raise ManifestErrors(tuple(problems))
    return _wanted(parts)


@dataclass(frozen=True)
class PlannedPool:
    """A pool's plan, and what it asks of the process that advances exchanges."""

    plan: PoolPlan
    wanted: WantedPool


def engine_home(environment: Environment) -> EngineHome:
    """Where the engine lies that was installed."""
    return EngineHome(
        python=str(environment.engine_python),
        stub_paths=(str(environment.triton.stub_packages), str(environment.package)),
    )


def plans_for(
    wanted: Wanted, home: EngineHome, machine: Machine, secrets: Path | None = None
) -> list[PlannedPool]:
    """One plan for each pool; later pools get what the earlier ones leave of the machine. `secrets` holds a
    folder for each Secret.

    Raises InvalidSpec for a pool that cannot be, and LocalError where the machine has too little memory or a
    Secret has no folder.
    """
    plans: list[PlannedPool] = []
    for pool in wanted.pools:
        members = wanted.members_of(pool)
        facts = {member.metadata.name: _facts(member) for member in members}
        digests = {member.metadata.name: _examples_digest(member) for member in members}
        made = plan(pool, members, Surroundings(facts, home, machine, digests))
        if made.memory_shortfall:
            raise LocalError(
                f"Too little memory for {pool.metadata.name}: {made.memory_shortfall}. Serve fewer sub-models"
                " or replicas, or end something else."
            )
        machine = what_is_left(machine, made)
        asked = _asked_of(made, members, access_folders(pool, secrets))
        estimates = {"estimated_bytes": _estimates(members, facts)}
        plans.append(PlannedPool(made, asked.model_copy(update=estimates)))
    return plans


def _estimates(
    members: Sequence[SubModel], facts: Mapping[str, CheckpointFacts | CheckpointError]
) -> dict[str, int]:
    """Memory of one replica, by scaled sub-model."""
    scaled = {m.metadata.name: m.spec.parallelism.tensor for m in members if m.spec.autoscaling is not None}
    return {
        name: instance_bytes(known, scaled[name])
        for name, known in facts.items()
        if name in scaled and isinstance(known, CheckpointFacts)
    }


def _asked_of(made: PoolPlan, members: Sequence[SubModel], access: AccessFolders) -> WantedPool:
    served = {member.name for member in made.table.members}
    return WantedPool(
        table=made.table,
        policies={m.metadata.name: m.spec.rollout for m in members if m.metadata.name in served},
        shape={instance.name: instance.layout.gpus for instance in made.instances},
        access=access,
    )


def access_folders(pool: ModelPool, secrets: Path | None) -> AccessFolders:
    """Raises LocalError, naming the folder, where a Secret that the pool names has none."""
    auth, tls = pool.spec.router.auth, pool.spec.router.tls
    return AccessFolders(
        keys=_secret(secrets, auth.secret_name) if auth else None,
        certificate=_secret(secrets, tls.secret_name) if tls else None,
        client_ca=_secret(secrets, tls.client_ca_secret_name) if tls and tls.client_ca_secret_name else None,
    )


def _secret(secrets: Path | None, name: str) -> Path:
    if secrets is None or not (secrets / name).is_dir():
        place = f"{secrets / name} is no folder" if secrets else "there is no --secrets FOLDER"
        raise LocalError(
            f"The pool names the Secret {name}, but {place}. Each entry is a file in FOLDER/{name}."
        )
    return (secrets / name).resolve()


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ManifestErrors((Problem(str(file), 1, "", f"not UTF-8: {error.reason}"),)) from error
    except OSError as error:
        raise LocalError(f"{file} cannot be read: {error.strerror}") from error


def _wanted(parts: Sequence[Manifests]) -> Wanted:
    pools: list[ModelPool] = []
    sub_models: list[SubModel] = []
    for part in parts:
        pools += [resolve_uris(w.document, _folder(w.file)) for w in part.written_pools]
        sub_models += [resolve_uris(w.document, _folder(w.file)) for w in part.written_sub_models]
    if not pools:
        raise LocalError("The files hold no ModelPool.")
    metadata = [pool.metadata for pool in pools] + [sub_model.metadata for sub_model in sub_models]
    namespaces = sorted({one.namespace for one in metadata})
    if len(namespaces) > 1:
        raise LocalError(
            f"Local mode serves one namespace at a time; the files name {', '.join(namespaces)}."
        )
    return Wanted(tuple(pools), tuple(sub_models))


def _folder(file: str) -> str:
    return str(Path(file).resolve().parent)


def _facts(member: SubModel) -> CheckpointFacts | CheckpointError:
    read = read_custom_facts if member.spec.engine.type is EngineType.CUSTOM else read_facts
    try:
        return read(member.spec.model.storage_uri)
    except CheckpointError as error:
        return error


def _examples_digest(member: SubModel) -> str | InvalidSpec:
    """Identity of the texts in the file of examples, or why they cannot be read."""
    if member.spec.examples_from is None:
        return ""
    uri = member.spec.examples_from.storage_uri
    try:
        return digest_of(
            {"texts": read_examples(Meaning(examples=member.spec.examples, storage_uri=uri, digest=""))}
        )
    except CheckpointError as error:
        return InvalidSpec("spec.examplesFrom.storageUri", error.message)
