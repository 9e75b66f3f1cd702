"""Real parts: Triton, the engine's environment, MiniLM. Installed once into the platform's data folder."""

from pathlib import Path

import pytest

from fastserve.local.environment import Environment, Installer, TritonHome
from fastserve.local.folders import Folders


@pytest.fixture(scope="session")
def environment() -> Environment:
    return Installer(Folders.of_platform(), print).everything()


@pytest.fixture(scope="session")
def triton_home(environment: Environment) -> TritonHome:
    return environment.triton


@pytest.fixture(scope="session")
def minilm(environment: Environment) -> Path:
    return environment.weights
