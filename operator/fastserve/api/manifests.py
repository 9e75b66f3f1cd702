"""From the YAML that users write to documents, strictly: every fault of a file with its line.

An API server prunes fields it does not know, and a mistyped setting then silently is the default. Here
nothing is pruned. All functions are pure: text and values in, values or ManifestErrors out.
"""

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import pydantic
from pydantic_core import to_json

from fastserve.api.identity import API_VERSION
from fastserve.api.meta import Document
from fastserve.api.modelpool import ModelPool
from fastserve.api.problems import ManifestErrors, Problem
from fastserve.api.schema import Schema, structural_schema
from fastserve.api.submodel import SubModel
from fastserve.api.uris import FILE_SCHEME
from fastserve.api.wording import nearest, sentence_of, shown
from fastserve.api.yaml_documents import YamlDocument, dotted, read_documents

__all__ = ["ManifestErrors", "Manifests", "Problem", "Written", "check_set", "parse", "resolve_uris"]

KINDS: dict[str, type[ModelPool] | type[SubModel]] = {"ModelPool": ModelPool, "SubModel": SubModel}

Kind = TypeVar("Kind", ModelPool, SubModel)
AnyDocument = TypeVar("AnyDocument", bound=Document)


@dataclass(frozen=True)
class Written(Generic[Kind]):
    """A document and where it was written."""

    document: Kind
    file: str
    source: YamlDocument

    @property
    def key(self) -> tuple[str, str, str]:
        """Kind, namespace, name: what no two documents may share."""
        metadata = self.document.metadata
        return (self.document.kind, metadata.namespace, metadata.name)

    def problem(self, path: tuple[str, ...], message: str) -> Problem:
        """A fault of the field at `path`."""
        return Problem(self.file, self.source.line_of(path), dotted(path), message)


@dataclass(frozen=True)
class Manifests:
    """The documents of one file, in the order they stand there."""

    written_pools: tuple[Written[ModelPool], ...] = ()
    written_sub_models: tuple[Written[SubModel], ...] = ()

    @property
    def pools(self) -> tuple[ModelPool, ...]:
        return tuple(written.document for written in self.written_pools)

    @property
    def sub_models(self) -> tuple[SubModel, ...]:
        return tuple(written.document for written in self.written_sub_models)


def parse(text: str, file: str) -> Manifests:
    """The documents in `text`; `file` is its name in messages. Raises ManifestErrors with every fault."""
    documents, problems = read_documents(text, file)
    pools: list[Written[ModelPool]] = []
    sub_models: list[Written[SubModel]] = []
    for source in documents:
        read = _read_document(source, file)
        match read:
            case ModelPool():
                pools.append(Written(read, file, source))
            case SubModel():
                sub_models.append(Written(read, file, source))
            case _:
                problems.extend(read)
    if not documents and not problems:
        problems.append(Problem(file, 1, "", "nothing is written here; expected a ModelPool or a SubModel"))
    if problems:
        raise ManifestErrors(tuple(sorted(problems)))
    return Manifests(tuple(pools), tuple(sub_models))


def _read_document(source: YamlDocument, file: str) -> ModelPool | SubModel | list[Problem]:
    if not isinstance(source.value, dict):
        message = f"found {shown(source.value)}; expected a document with apiVersion, kind, metadata and spec"
        return [Problem(file, source.line_of(()), "", message)]
    problems = list(_identity_problems(source, file))
    if problems:
        return problems
    model = KINDS[source.value["kind"]]
    try:
        return model.model_validate_json(
            to_json(source.value), strict=True, extra="forbid", by_alias=True, by_name=False
        )
    except pydantic.ValidationError as errors:
        return [
            Problem(
                file, source.line_of(error["loc"]), dotted(error["loc"]), sentence_of(error, _schema(model))
            )
            for error in errors.errors()
        ]


def _identity_problems(source: YamlDocument, file: str) -> Iterator[Problem]:
    """What apiVersion and kind must say before anything else of the document has a meaning."""
    for field, allowed in (("apiVersion", (API_VERSION,)), ("kind", tuple(KINDS))):
        found = source.value.get(field)
        if found in allowed:
            continue
        near = nearest(found, allowed) if isinstance(found, str) else ""
        stated = f"found {shown(found)}" if field in source.value else "required, but not there"
        message = f"{stated}; allowed: {' or '.join(allowed)}{near}"
        yield Problem(file, source.line_of((field,)), field, message)


@cache
def _schema(model: type[Document]) -> Schema:
    return structural_schema(model)


def check_set(files: Sequence[Manifests]) -> tuple[Problem, ...]:
    """What is wrong between documents that are each right by themselves, over all files."""
    pools = [written for file in files for written in file.written_pools]
    sub_models = [written for file in files for written in file.written_sub_models]
    problems = [*_twice(pools), *_twice(sub_models)]
    for sub_model in sub_models:
        problems.extend(_without_pool(sub_model, pools))
    for pool in pools:
        members = [s for s in sub_models if _pool_key(s) == pool.key]
        problems.extend(_pool_problems(pool, [member.document.metadata.name for member in members]))
    return tuple(sorted(problems))


def _pool_key(sub_model: Written[SubModel]) -> tuple[str, str, str]:
    document = sub_model.document
    return ("ModelPool", document.metadata.namespace, document.spec.pool_ref.name)


def _twice(documents: Sequence[Written[Kind]]) -> Iterator[Problem]:
    first: dict[tuple[str, str, str], Written[Kind]] = {}
    for written in documents:
        other = first.setdefault(written.key, written)
        if other is not written:
            line = other.source.line_of(("metadata", "name"))
            kind, _, name = written.key
            yield written.problem(
                ("metadata", "name"), f"a {kind} named {name} is written already, at {other.file}:{line}"
            )


def _without_pool(sub_model: Written[SubModel], pools: Sequence[Written[ModelPool]]) -> Iterator[Problem]:
    key = _pool_key(sub_model)
    if key not in {pool.key for pool in pools}:
        names = sorted({pool.key[2] for pool in pools if pool.key[1] == key[1]})
        there = f"the pools are: {', '.join(names)}{nearest(key[2], names)}" if names else "there is no pool"
        yield sub_model.problem(("spec", "poolRef", "name"), f"no ModelPool is named {key[2]}; {there}")


def _pool_problems(pool: Written[ModelPool], members: Sequence[str]) -> Iterator[Problem]:
    if not members:
        yield pool.problem(("metadata", "name"), f"no SubModel names the pool {pool.key[2]} in its poolRef")
        return
    fallback = pool.document.spec.selection.fallback.sub_model
    if fallback is not None and fallback not in members:
        yield pool.problem(
            ("spec", "selection", "fallback", "subModel"),
            f"{fallback} is no sub-model of this pool; its sub-models are: "
            f"{', '.join(sorted(members))}{nearest(fallback, members)}",
        )


def resolve_uris(document: AnyDocument, folder: str) -> AnyDocument:
    """A copy of `document` in which every relative ``file://`` URI is absolute.

    `folder` is the absolute path of the folder that holds the YAML file. ``file://./models/x`` and
    ``file://models/x`` lie in it; ``file:///models/x`` stays. Paths in URIs are percent-encoded.
    """
    if not folder.startswith("/"):
        raise ValueError(f"{folder!r} is not absolute")
    tree = _resolved(document.model_dump(by_alias=True), quote(folder))
    return type(document).model_validate(tree)


def _resolved(value: Any, folder: str) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _absolute(inner, folder) if key == "storageUri" else _resolved(inner, folder)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [_resolved(inner, folder) for inner in value]
    return value


def _absolute(uri: str, folder: str) -> str:
    if not uri.startswith(FILE_SCHEME):
        return uri
    return FILE_SCHEME + posixpath.normpath(posixpath.join(folder, uri.removeprefix(FILE_SCHEME)))
