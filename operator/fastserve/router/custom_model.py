"""engine.type Custom: a Triton model folder of the user's own, shown to Triton under our name.

Our folder in the repository holds the configuration, without the name that Triton would compare with the
folder's, and links to everything else; the user's files are neither copied nor changed.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from fastserve.errors import CheckpointError, CheckpointMissing, InvalidSpec
from fastserve.router.model_files import ModelFiles
from fastserve.router.repository import remove_model

CONFIG = "config.pbtxt"
MAX_CONFIG_BYTES = 1 << 20
FIELD = "spec.model.storageUri"
STRING, FP32 = model_config_pb2.TYPE_STRING, model_config_pb2.TYPE_FP32
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<open>[{\[<])"""
    r"""|(?P<close>[}\]>])|(?P<word>[A-Za-z_]\w*)|(?P<space>\s+)|(?P<other>.)""",
    re.DOTALL,
)


@dataclass(frozen=True)
class CustomModel:
    """A folder that was looked through: the configuration for Triton, and what is linked."""

    config: str
    entries: tuple[Path, ...]


def read_custom_model(files: ModelFiles, output: str) -> CustomModel:
    """Look through a user's folder, whose model must answer with `output` (scores or embedding).

    Raises CheckpointError where it is no Triton model folder, InvalidSpec where its model has another face.
    """
    folder = files.folder
    if not folder.is_dir():
        raise CheckpointMissing(f"there is no model folder {folder}")
    entries = tuple(path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    for path in entries:
        if not path.resolve().is_relative_to(files.root.resolve()):
            raise CheckpointError(f"{path.name} is a link to outside the model's folder")
    if not any(path.is_dir() and re.fullmatch("[1-9][0-9]*", path.name) for path in entries):
        raise CheckpointError("the model folder has no version folder (1, 2, …)")
    text = _config_text(folder / CONFIG)
    _check_face(_parsed(text), output)
    linked = tuple(path for path in entries if path.name != CONFIG)
    return CustomModel(without_name(text), linked)


def write_custom_model(place: Path, model: CustomModel) -> None:
    """Make `place`, a folder of Triton's repository, show the model; what was there goes."""
    remove_model(place.parent, place.name)
    place.mkdir(parents=True)
    (place / CONFIG).write_text(model.config, encoding="utf-8")
    for entry in model.entries:
        (place / entry.name).symlink_to(entry.absolute())


def without_name(text: str) -> str:
    """A configuration without its outermost field ``name``."""
    kept: list[str] = []
    depth, dropping = 0, False
    for token in _TOKEN.finditer(text):
        kind, word = token.lastgroup, token.group()
        depth += (kind == "open") - (kind == "close")
        if dropping and (kind in ("text", "space", "comment") or word == ":"):
            continue
        # One field may be parted from the next by a comma or a semicolon, and that one goes with it.
        ends_name = dropping and word in (",", ";")
        dropping = depth == 0 and kind == "word" and word == "name"
        if not dropping and not ends_name:
            kept.append(word)
        elif dropping:
            kept.append("\n")
    return "".join(kept)


def _config_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{CONFIG} is no file")  # to open a pipe would wait for ever
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise CheckpointError(f"{CONFIG} is larger than {MAX_CONFIG_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise CheckpointError(f"the model folder has no {CONFIG}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{CONFIG} cannot be read: {error}") from error


def _parsed(text: str) -> model_config_pb2.ModelConfig:
    try:
        # What a newer Triton's configuration can say and ours cannot is that Triton's to judge.
        return text_format.Parse(text, model_config_pb2.ModelConfig(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise CheckpointError(f"{CONFIG} is no Triton model configuration: {error}") from error
    except RecursionError as error:
        raise CheckpointError(f"{CONFIG} is no Triton model configuration: it is nested too deep") from error


def _check_face(config: model_config_pb2.ModelConfig, output: str) -> None:
    inputs = {one.name: one.data_type for one in config.input if not one.optional}
    outputs = {one.name: one.data_type for one in config.output}
    if inputs != {"text": STRING}:
        names = ", ".join(sorted(inputs)) or "none"
        raise InvalidSpec(
            FIELD, f"{CONFIG} has the inputs {names}", "one input text, TYPE_STRING, dims [ 1 ] or [ -1, 1 ]"
        )
    if outputs.get(output) != FP32:
        names = ", ".join(sorted(outputs)) or "none"
        raise InvalidSpec(FIELD, f"{CONFIG} has the outputs {names}", f"an output {output}, TYPE_FP32")
