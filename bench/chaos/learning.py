"""What models that do not tell their version answer, learnt by asking while all is well."""

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.load import TEXTS
from chaos.model import LABELS


def answers_of(address: str, name: str) -> dict[str, float]:
    """The first score of a sub-model for each text of the load."""
    return {text: _asked(address, name, text) for text in TEXTS}


def write_learnt(file: Path, versions: Sequence[Mapping[str, float]]) -> Path:
    """What the load is to expect of each version, as it reads it."""
    file.write_text(json.dumps({text: [answers[text] for answers in versions] for text in TEXTS}))
    return file


def _asked(address: str, name: str, text: str) -> float:
    body = json.dumps({"text": text, "subModel": name}).encode()
    head = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://{address}/v1/predict", body, head)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return float(json.load(answer)["scores"][LABELS[0]])
