"""What the operator writes into a pod is what the programs in it read."""

from pathlib import Path

import pytest

from fastserve.api.objects import Manifest
from fastserve.engine import drain, warden
from fastserve.planning.objects.settings import ImageSet, ObjectSettings
from fastserve.planning.objects.template import member_template, standby_template
from fastserve.router.settings import RouterSettings, parse_settings
from make import pool, sub_model

SETTINGS = ObjectSettings(ImageSet("router", "triton"))
IMAGES = Path(__file__).parents[2] / "images"
KEYS = {"storageUri": "s3://bucket/x", "credentials": {"secretName": "keys"}}
MEMBER = member_template(pool(), sub_model("sport", model=KEYS), SETTINGS)
STANDBY = standby_template(pool(), SETTINGS)


def router_of(template: Manifest) -> Manifest:
    spec = template["spec"]
    return next(
        one for one in [*spec.get("initContainers", []), *spec["containers"]] if one["name"] == "router"
    )


def read(template: Manifest) -> RouterSettings:
    """The settings as the router reads them once Kubernetes has filled in the pod's uid and namespace."""
    router = router_of(template)
    text = router["args"][1]
    for variable in router["env"]:
        text = text.replace(f"$({variable['name']})", f"the-{variable['name']}")
    assert "$(" not in text
    return parse_settings(text.encode())


def test_a_sidecar_reads_its_settings() -> None:
    settings = read(MEMBER)
    assert (settings.member, settings.instance) == ("sport", "the-POD_UID")
    assert settings.cluster is not None
    assert (settings.cluster.namespace, settings.cluster.routes) == ("the-POD_NAMESPACE", "news-p-routes")
    assert settings.computes_prototypes is False


def test_a_stand_by_router_reads_its_settings() -> None:
    settings = read(STANDBY)
    assert (settings.member, settings.computes_prototypes) == (None, True)


@pytest.mark.parametrize("template", [MEMBER, STANDBY], ids=["member", "standby"])
def test_a_router_writes_only_where_a_volume_is(template: Manifest) -> None:
    settings, mounts = read(template), router_of(template)["volumeMounts"]
    writable = [mount["mountPath"] for mount in mounts if not mount.get("readOnly")]
    for path in (settings.run_path, settings.repository_path, settings.models_path):
        assert path is None or any(path.startswith(f"{mount}/") for mount in writable)


def test_credentials_are_read_where_they_are_mounted() -> None:
    paths = [mount["mountPath"] for mount in router_of(MEMBER)["volumeMounts"]]
    assert read(MEMBER).credentials_path in paths
    assert read(member_template(pool(), sub_model("sport"), SETTINGS)).credentials_path is None


def test_triton_ends_by_asking_the_router_at_the_socket_where_it_listens() -> None:
    (triton,) = MEMBER["spec"]["containers"]
    command = triton["lifecycle"]["preStop"]["exec"]["command"]
    assert command[1:] == ["-m", drain.__name__, str(read(MEMBER).drain_socket)]


def test_tritons_warden_takes_its_arguments_and_listens_where_the_router_asks() -> None:
    (triton,) = MEMBER["spec"]["containers"]
    order = warden.order_of(triton["args"])
    assert str(order.socket) == read(MEMBER).warden_socket
    assert order.command[0] == "/opt/tritonserver/bin/tritonserver"
    assert f"--backend-config=python,shm-region-prefix-name={order.regions}" in order.command
    assert read(STANDBY).warden_socket is None


def test_the_images_have_what_pods_name_in_them() -> None:
    dockerfile = (IMAGES / "triton" / "Dockerfile").read_text(encoding="utf-8")
    (triton,) = MEMBER["spec"]["containers"]
    interpreter = triton["lifecycle"]["preStop"]["exec"]["command"][0]
    assert interpreter.removesuffix("/bin/python") in dockerfile
    assert "/opt/tritonserver/backends" in dockerfile
    assert f'ENTRYPOINT ["{interpreter}", "-m", "{warden.__name__}"]' in dockerfile
    assert read(STANDBY).encoder_path in (IMAGES / "router" / "Dockerfile").read_text(encoding="utf-8")
