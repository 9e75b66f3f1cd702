"""What the environment says, and what it must not."""

import pytest

from fastserve.controller.settings import Address, settings_from
from fastserve.errors import InvalidSpec

IMAGES = {"FASTSERVE_ROUTER_IMAGE": "router:1", "FASTSERVE_TRITON_IMAGE": "triton:1"}


def test_images_are_all_that_must_be_said() -> None:
    settings = settings_from(IMAGES)
    assert settings.objects.images.router == "router:1"
    assert settings.objects.network.policies
    assert settings.listen == Address("0.0.0.0", 8082)
    assert settings.namespaces == ()
    assert settings.pod_name != ""


def test_everything_can_be_said() -> None:
    settings = settings_from(
        {
            **IMAGES,
            "FASTSERVE_IMAGE_PULL_POLICY": "Always",
            "FASTSERVE_IMAGE_PULL_SECRETS": "one, two,,one",
            "FASTSERVE_WATCH_NAMESPACES": "a,b",
            "FASTSERVE_NAMESPACE": "here",
            "FASTSERVE_POD_NAME": "operator-0",
            "FASTSERVE_LEASE_NAME": "mine",
            "FASTSERVE_NETWORK_POLICIES": "false",
            "FASTSERVE_PROMETHEUS_NAMESPACE": "monitoring",
            "FASTSERVE_CLUSTER_DOMAIN": "example.org",
            "FASTSERVE_LISTEN": "[::]:9000",
            "FASTSERVE_LOG_LEVEL": "DEBUG",
            "FASTSERVE_WRITES_PER_SECOND": "100",
        }
    )
    assert settings.objects.images.pull_secrets == ("one", "two")
    assert settings.namespaces == ("a", "b")
    assert settings.objects.network.operator_namespace == settings.namespace == "here"
    assert not settings.objects.network.policies
    assert settings.listen == Address("::", 9000)
    assert settings.writes.per_second == 100


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FASTSERVE_ROUTER_IMAGE", ""),
        ("FASTSERVE_IMAGE_PULL_POLICY", "Sometimes"),
        ("FASTSERVE_NETWORK_POLICIES", "yes"),
        ("FASTSERVE_LISTEN", "8082"),
        ("FASTSERVE_LISTEN", "0.0.0.0:99999"),
        ("FASTSERVE_LOG_LEVEL", "loud"),
        ("FASTSERVE_WRITES_PER_SECOND", "0"),
        ("FASTSERVE_WRITE_BURST", "nan"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        settings_from({**IMAGES, name: value})
    assert caught.value.field == name
