"""Keys and certificates in local mode: a folder for each Secret."""

import json
from pathlib import Path

import pytest

from fastserve.api.access import key_digest
from fastserve.errors import LocalError
from fastserve.local.applying import ApplyOptions, apply
from fastserve.local.documents import AccessFolders, Session
from fastserve.local.environment import Environment, TritonHome
from fastserve.local.folders import Folders
from fastserve.local.ground import Ground
from fastserve.local.launching import launch
from fastserve.local.machine import this_machine
from fastserve.local.pool_files import read_table, read_wanted, shown_state_key
from fastserve.local.preparing import engine_home, plans_for, read

POOL = """\
apiVersion: fastserve.io/v1alpha1
kind: ModelPool
metadata: {name: news}
spec:
  router: {auth: {secretName: keys}, tls: {secretName: cert}, audit: AUDIT}
"""
MEMBER = """\
---
apiVersion: fastserve.io/v1alpha1
kind: SubModel
metadata: {name: sport}
spec:
  poolRef: {name: news}
  examples: [Who won the match?]
  replicas: 0
  model: {storageUri: "file://./model"}
"""
CONFIG = '{"model_type": "bert", "num_attention_heads": 2, "hidden_size": 4, "intermediate_size": 8}'


class Home:
    """A session of one guarded pool, as `up` writes it, without its processes."""

    def __init__(self, folder: Path, state: Path) -> None:
        self.folder, self.state = folder, Folders(data=folder, state=state)
        self.secrets = folder / "secrets"
        for name in ("keys", "cert"):
            (self.secrets / name).mkdir(parents=True)
        model = folder / "model"
        model.mkdir()
        for name, text in (("config.json", CONFIG), ("tokenizer.json", "{}"), ("model.safetensors", "x")):
            (model / name).write_text(text)
        self.write()
        place = Environment(TritonHome(folder, folder, "", folder, "3.11"), folder, folder, folder)
        planned = plans_for(read([self.file]), engine_home(place), this_machine(""), self.secrets)
        self.made = launch(planned, Ground(place, self.state), 0)

    @property
    def file(self) -> Path:
        return self.folder / "pool.yaml"

    def write(self, audit: str = "false") -> None:
        self.file.write_text(POOL.replace("AUDIT", audit) + MEMBER)

    def apply(self, secrets: Path) -> list[str]:
        session = Session(pid=1, created=0.0, pools=self.made.pools, processes=())
        return apply(ApplyOptions((self.file,), self.state, "", secrets), session)


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path, tmp_path_factory.mktemp("s"))


def test_routers_are_told_the_folders_and_the_door_is_https(home: Home) -> None:
    (place,) = home.made.pools
    settings = json.loads((place.folder / "news-door.settings.json").read_text())
    assert settings["keys_path"] == str(home.secrets / "keys")
    assert settings["tls_path"] == str(home.secrets / "cert")
    assert settings["client_ca_path"] is None
    assert place.url.startswith("https://127.0.0.1:")


def test_the_key_of_the_session_is_for_its_user_only_and_routers_know_its_digest(home: Home) -> None:
    folder = home.made.pools[0].folder
    assert (folder / "state.key").stat().st_mode & 0o777 == 0o600
    key = shown_state_key(folder).removeprefix("Bearer ")
    assert read_table(folder).access.operator_digest == key_digest(key.encode())
    others = [file for file in home.state.state.rglob("*.json") if key in file.read_text()]
    assert others == []


def test_apply_keeps_that_key_and_takes_over_the_rest(home: Home) -> None:
    folder = home.made.pools[0].folder
    before = read_table(folder).access.operator_digest
    home.write(audit="true")
    assert home.apply(home.secrets) == ["news: changed"]
    access = read_wanted(folder).table.access
    assert (access.audit, access.operator_digest) == (True, before)


def test_apply_refuses_other_secrets_than_those_that_routers_read(home: Home, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name in ("keys", "cert"):
        (other / name).mkdir(parents=True)
    with pytest.raises(LocalError, match="which Secrets hold keys and certificates"):
        home.apply(other)


def test_a_secret_without_a_folder_is_named(home: Home, tmp_path: Path) -> None:
    for secrets, words in ((None, "there is no --secrets FOLDER"), (tmp_path, "is no folder")):
        with pytest.raises(LocalError, match=f"the Secret keys, but .*{words}"):
            home.apply(secrets)


def test_a_pool_that_names_no_secret_needs_no_folder(home: Home) -> None:
    home.file.write_text(POOL.partition("spec:")[0] + "spec: {}\n" + MEMBER)
    place = Environment(TritonHome(home.folder, home.folder, "", home.folder, "3.11"), *[home.folder] * 3)
    (planned,) = plans_for(read([home.file]), engine_home(place), this_machine(""))
    assert planned.wanted.access == AccessFolders()
    assert shown_state_key(home.folder) == ""
