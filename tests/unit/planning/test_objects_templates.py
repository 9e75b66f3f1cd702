"""Pods of sub-models and of pools: what holds for every one of them."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastserve.api.identity import RESTARTED_ANNOTATION, image_folder
from fastserve.api.modelpool import ModelPool
from fastserve.api.objects import Manifest
from fastserve.api.pods import Resources
from fastserve.api.submodel import SubModel
from fastserve.planning.objects.compute import layered
from fastserve.planning.objects.settings import ImageSet, ObjectSettings
from fastserve.planning.objects.template import (
    member_template,
    standby_template,
)
from fastserve.planning.objects.workloads import (
    deployment,
    member_workload,
    standby_workload,
)
from make import pool, sub_model
from pod_security import violations

SETTINGS = ObjectSettings(ImageSet("router:1", "triton:1", pull_secrets=("registry",)))
NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

some = settings(max_examples=40)


def name_of(entry: dict[str, str]) -> str:
    return entry["name"]


names = st.sampled_from(["a", "0", "news", "sport-2", "x" * 40, "y" + "-" * 38 + "z"])
env_names = st.sampled_from(["POD_UID", "POD_NAMESPACE", "HF_HOME", "PATH", "LD_PRELOAD", "nvidia"])
quantities = st.sampled_from(["1", "500m", "16Gi", "1e3", "0"])
resources = st.fixed_dictionaries(
    {},
    optional={
        side: st.dictionaries(st.sampled_from(["cpu", "memory", "ephemeral-storage"]), quantities)
        for side in ("requests", "limits")
    },
)
pod_templates = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.dictionaries(st.sampled_from(["team", "example.org/app"]), st.just("x")),
        "nodeSelector": st.dictionaries(st.just("disk"), st.just("fast")),
        "tolerations": st.lists(st.just({"operator": "Exists"}), max_size=2),
        "affinity": st.sampled_from([None, {}, {"podAffinity": {}}, {"nodeAffinity": "nonsense"}]),
        "priorityClassName": st.just("high"),
        "serviceAccountName": st.just("another"),
        "imagePullSecrets": st.sampled_from([[], [{"name": "registry"}, {"name": "own"}]]),
        "resources": resources,
        "env": st.lists(st.fixed_dictionaries({"name": env_names, "value": st.just("x")}), unique_by=name_of),
    },
)
models = st.sampled_from(
    [
        {"storageUri": "hf://owner/model"},
        {"storageUri": "pvc://claim.with.dots/a/b", "sizeLimit": "3G"},
        {"storageUri": "s3://bucket/x", "credentials": {"secretName": "keys"}},
        {"storageUri": "pvc://claim", "sizeLimit": "1e99"},
        {"storageUri": "oci://r.example/models/a:1", "delivery": "ImageVolume"},
    ]
)
gpus = st.sampled_from([None, {}, {"product": "H100", "memory": "80G"}, {"resourceName": "amd.com/gpu"}])


@st.composite
def pools(draw: st.DrawFn) -> ModelPool:
    router = {"podTemplate": draw(pod_templates), "resources": draw(resources)}
    return pool(draw(names), router=router)


@st.composite
def members(draw: st.DrawFn) -> SubModel:
    spec: dict[str, Any] = {"podTemplate": draw(pod_templates), "model": draw(models), "gpu": draw(gpus)}
    return sub_model(draw(names), tensor=draw(st.sampled_from([1, 2, 8])), **spec)


def containers(template: Manifest) -> list[Manifest]:
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def both(one_pool: ModelPool, member: SubModel) -> tuple[Manifest, Manifest]:
    return member_template(one_pool, member, SETTINGS), standby_template(one_pool, SETTINGS)


def container(template: Manifest, name: str) -> Manifest:
    return next(one for one in containers(template) if one["name"] == name)


def volume_of(template: Manifest, container_name: str) -> dict[str, Manifest]:
    """What a container sees: path to the volume that is mounted there."""
    volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
    return {
        mount["mountPath"]: volumes[mount["name"]]
        for mount in container(template, container_name)["volumeMounts"]
    }


@some
@given(pools(), members())
def test_every_pod_is_let_in_where_pod_security_is_restricted(one_pool: ModelPool, member: SubModel) -> None:
    for template in both(one_pool, member):
        assert violations(template["spec"]) == []
        assert all(one["securityContext"]["readOnlyRootFilesystem"] for one in containers(template))


def test_the_judge_of_pod_security_sees_every_single_fault() -> None:
    template = member_template(pool(), sub_model(), SETTINGS)
    faults: dict[str, Callable[[Manifest], Any]] = {
        "hostNetwork": lambda spec: spec.update(hostNetwork=True),
        "volume x is of type hostPath": lambda spec: spec["volumes"].append({"name": "x", "hostPath": {}}),
        "triton: runAsUser is 0": lambda spec: spec["containers"][0]["securityContext"].update(runAsUser=0),
        "triton: not all capabilities are dropped": lambda spec: spec["containers"][0]["securityContext"].pop(
            "capabilities"
        ),
        "router: allowPrivilegeEscalation is not false": lambda spec: spec["initContainers"][0][
            "securityContext"
        ].pop("allowPrivilegeEscalation"),
        "router: no seccompProfile": lambda spec: spec["securityContext"].pop("seccompProfile"),
        "triton: runAsNonRoot is not true": lambda spec: spec["securityContext"].pop("runAsNonRoot"),
        "router: hostPort": lambda spec: spec["initContainers"][0]["ports"][0].update(hostPort=80),
    }
    for fault, spoil in faults.items():
        spec = json.loads(json.dumps(template["spec"]))
        spoil(spec)
        assert fault in violations(spec)


@some
@given(pools(), members())
def test_names_and_label_values_stay_within_63_characters(one_pool: ModelPool, member: SubModel) -> None:
    of_member, of_standby = both(one_pool, member)
    made = [
        member_workload(one_pool, member, of_member, 1),
        standby_workload(one_pool, of_standby, 1),
    ]
    for workload in made:
        values = [*workload.labels.values(), *workload.selector.values()]
        volumes = [volume["name"] for volume in workload.template["spec"]["volumes"]]
        assert all(len(value) <= 63 for value in [workload.name, *values, *volumes])
        assert NAME.fullmatch(workload.name)


@some
@given(pools(), members())
def test_a_deployment_selects_its_own_pods_and_those_of_no_other_revision(
    one_pool: ModelPool, member: SubModel
) -> None:
    restarted = member.model_copy(
        update={"metadata": member.metadata.model_copy(update={"annotations": {RESTARTED_ANNOTATION: "now"}})}
    )
    first, second = (
        deployment(member_workload(one_pool, one, member_template(one_pool, one, SETTINGS), 1))
        for one in (member, restarted)
    )
    standby = deployment(standby_workload(one_pool, standby_template(one_pool, SETTINGS), 1))
    made = [first, second, standby]
    for one in made:
        selector = one["spec"]["selector"]["matchLabels"].items()
        selected = [selector <= other["spec"]["template"]["metadata"]["labels"].items() for other in made]
        assert selected == [one is other for other in made]


@some
@given(pools(), members())
def test_lists_that_server_side_apply_merges_by_key_name_each_key_once(
    one_pool: ModelPool, member: SubModel
) -> None:
    for template in both(one_pool, member):
        for one in containers(template):
            for field, key in (("env", "name"), ("volumeMounts", "mountPath"), ("ports", "containerPort")):
                keys = [entry[key] for entry in one.get(field, [])]
                assert len(keys) == len(set(keys))
        for field in ("volumes", "imagePullSecrets"):
            keys = [entry["name"] for entry in template["spec"].get(field, [])]
            assert len(keys) == len(set(keys))


@some
@given(pools(), members())
def test_every_mount_has_its_volume_and_every_volume_is_mounted(
    one_pool: ModelPool, member: SubModel
) -> None:
    for template in both(one_pool, member):
        mounted = {mount["name"] for one in containers(template) for mount in one["volumeMounts"]}
        assert mounted == {volume["name"] for volume in template["spec"]["volumes"]}


@some
@given(pools(), members())
def test_only_routers_hold_a_token_and_only_those_that_fetch_hold_credentials(
    one_pool: ModelPool, member: SubModel
) -> None:
    of_member, of_standby = both(one_pool, member)
    seen = {
        (kind, name): [volume for volume in volume_of(template, name).values() if kind in volume]
        for kind in ("projected", "secret")
        for template, name in ((of_member, "triton"), (of_member, "router"))
    }
    assert seen["projected", "triton"] == seen["secret", "triton"] == []
    assert len(seen["projected", "router"]) == 1
    assert len(seen["secret", "router"]) == (member.spec.model.credentials is not None)
    assert not [volume for volume in of_standby["spec"]["volumes"] if "secret" in volume]
    for template in (of_member, of_standby):
        assert template["spec"]["automountServiceAccountToken"] is False


@some
@given(pools(), members())
def test_no_pod_says_nvidia_visible_devices(one_pool: ModelPool, member: SubModel) -> None:
    for template in both(one_pool, member):
        assert "NVIDIA_VISIBLE_DEVICES" not in json.dumps(template)


@some
@given(pools(), members())
def test_no_request_is_above_its_limit_where_a_user_set_the_limit_alone(
    one_pool: ModelPool, member: SubModel
) -> None:
    for template in both(one_pool, member):
        for one in containers(template):
            requests, limits = (one["resources"].get(side, {}) for side in ("requests", "limits"))
            if one["name"] == "triton" and member.spec.gpu is not None:
                name, ranks = member.spec.gpu.resource_name, str(member.spec.parallelism.tensor)
                assert requests[name] == limits[name] == ranks
            written = (one_pool.spec.router, one_pool.spec.router.pod_template, member.spec.pod_template)
            for resource in requests.keys() & limits.keys() & {"cpu", "memory"}:
                asked = [layer.resources.requests.get(resource) for layer in written]
                assert requests[resource] in asked


def test_the_last_layer_that_names_a_resource_decides_request_and_limit() -> None:
    assert layered(
        Resources(requests={"cpu": "100m", "memory": "192Mi"}),
        Resources(limits={"memory": "64Mi"}),
        Resources(requests={"cpu": "1"}, limits={"cpu": "2"}),
    ) == {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi", "cpu": "2"}}


def test_the_settings_of_a_sidecar_are_the_ones_of_the_contract() -> None:
    one = sub_model("sport", model={"storageUri": "s3://bucket/x", "credentials": {"secretName": "keys"}})
    assert settings_of(member_template(pool(), one, SETTINGS)) == {
        "pool": "news",
        "instance": "$(POD_UID)",
        "member": "sport",
        "host": "0.0.0.0",
        "data_port": 8080,
        "admin_port": 8081,
        "cluster": {"namespace": "$(POD_NAMESPACE)", "routes": "news-p-routes"},
        "run_path": "/fastserve/run",
        "encoder_path": "/opt/fastserve/encoder",
        "triton_http": "127.0.0.1:8000",
        "triton_grpc": "127.0.0.1:8001",
        "repository_path": "/fastserve/repository",
        "warden_socket": "/fastserve/run/warden.sock",
        "models_path": "/fastserve/models",
        "credentials_path": "/fastserve/credentials",
        "claims_path": "/fastserve/claims",
        "images_path": "/fastserve/images",
        "drain_seconds": 30,
        "quiet_seconds": 5,
    }


def test_a_stand_by_router_has_nothing_of_a_triton_and_computes_prototypes() -> None:
    settings = settings_of(standby_template(pool(), SETTINGS))
    assert settings["computes_prototypes"] is True
    assert not {"member", "triton_http", "repository_path", "models_path", "claims_path"} & settings.keys()


def settings_of(template: Manifest) -> dict[str, Any]:
    flag, text = container(template, "router")["args"]
    assert flag == "--settings-json"
    settings: dict[str, Any] = json.loads(text)
    return settings


def test_two_versions_an_archive_and_a_repository_fit_into_the_pods_volume() -> None:
    template = member_template(
        pool(), sub_model(model={"storageUri": "s3://bucket/x", "sizeLimit": "10Gi"}), SETTINGS
    )
    assert volume_of(template, "router")["/fastserve"]["emptyDir"] == {"sizeLimit": "31Gi"}
    assert volume_of(template, "triton")["/fastserve"] == volume_of(template, "router")["/fastserve"]


@pytest.mark.parametrize(("tensor", "size"), [(1, None), (2, "4Gi"), (8, "10Gi")])
def test_ranks_that_talk_to_each_other_have_shared_memory(tensor: int, size: str | None) -> None:
    seen = volume_of(member_template(pool(), sub_model(tensor=tensor), SETTINGS), "triton")
    expected = {"medium": "Memory", "sizeLimit": size} if size else None
    assert seen.get("/dev/shm", {}).get("emptyDir") == expected


def test_a_claim_is_mounted_read_only_where_both_containers_look_for_it() -> None:
    template = member_template(pool(), sub_model(model={"storageUri": "pvc://models/a/b"}), SETTINGS)
    for name in ("router", "triton"):
        claim = volume_of(template, name)["/fastserve/claims/models"]["persistentVolumeClaim"]
        assert claim == {"claimName": "models", "readOnly": True}


@pytest.mark.parametrize("image", ["r.example:5000/models/sport:1", f"localhost/sport@sha256:{'0' * 64}"])
def test_an_image_volume_is_mounted_read_only_where_both_containers_look_for_it(image: str) -> None:
    model = {"storageUri": f"oci://{image}", "delivery": "ImageVolume"}
    template = member_template(pool(), sub_model(model=model), SETTINGS)
    path = f"/fastserve/images/{image_folder(image)}"
    for name in ("router", "triton"):
        volume = volume_of(template, name)[path]
        assert volume == {"name": "image", "image": {"reference": image, "pullPolicy": "IfNotPresent"}}
        assert {"name": "image", "mountPath": path, "readOnly": True} in container(template, name)[
            "volumeMounts"
        ]
    assert violations(template["spec"]) == []


def test_an_image_that_is_fetched_is_no_volume() -> None:
    template = member_template(pool(), sub_model(model={"storageUri": "oci://r.example/a:1"}), SETTINGS)
    assert not any("image" in volume for volume in template["spec"]["volumes"])


def test_a_pod_has_time_for_its_drain_and_for_tritons_end() -> None:
    template = member_template(pool(), sub_model(), SETTINGS)
    settings = settings_of(template)
    triton = container(template, "triton")
    exit_flag = next(argument for argument in triton["args"] if argument.startswith("--exit-timeout-secs="))
    needed = settings["drain_seconds"] + settings["quiet_seconds"] + int(exit_flag.partition("=")[2])
    assert template["spec"]["terminationGracePeriodSeconds"] > needed
    assert triton["lifecycle"]["preStop"]["exec"]["command"][-1] == settings["run_path"] + "/router.sock"


def test_pull_secrets_of_all_pods_come_after_the_users_own() -> None:
    one = sub_model(podTemplate={"imagePullSecrets": [{"name": "own"}, {"name": "registry"}]})
    secrets = member_template(pool(), one, SETTINGS)["spec"]["imagePullSecrets"]
    assert secrets == [{"name": "own"}, {"name": "registry"}]
