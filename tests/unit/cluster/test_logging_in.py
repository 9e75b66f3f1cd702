"""Who the API server is told that we are, and how fast we may write to it."""

import asyncio
from pathlib import Path

import pytest

from fastserve.cluster.login import TOKEN_SECONDS, ServiceAccountToken, login
from fastserve.cluster.session import Request, request_of
from fastserve.cluster.throttle import TokenBucket
from fastserve.errors import Unreachable
from virtual_time import run_in_virtual_time


async def test_a_token_that_the_kubelet_renewed_is_used(tmp_path: Path) -> None:
    now = 0.0
    (tmp_path / "token").write_text("first\n")
    token = ServiceAccountToken(tmp_path / "token", lambda: now)
    assert await token.header() == "Bearer first"
    (tmp_path / "token").write_text("second\n")
    now = TOKEN_SECONDS - 1
    assert await token.header() == "Bearer first"
    now = TOKEN_SECONDS
    assert await token.header() == "Bearer second"


async def test_a_token_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="token"):
        await ServiceAccountToken(tmp_path / "token").header()


async def test_a_pod_without_a_certificate_authority_is_told(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first")
    with pytest.raises(Unreachable, match="certificate authority"):
        await login({"KUBERNETES_SERVICE_HOST": "10.96.0.1"}, tmp_path)


async def test_a_kubeconfig_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="no way to log in"):
        await login({"KUBECONFIG": str(tmp_path / "none")}, tmp_path)


async def test_a_kubeconfig_with_a_token_is_used(tmp_path: Path) -> None:
    (tmp_path / "config").write_text(
        """
        {apiVersion: v1, kind: Config, current-context: a,
         clusters: [{name: a, cluster: {server: "https://api.example:6443"}}],
         users: [{name: a, user: {token: secret}}],
         contexts: [{name: a, context: {cluster: a, user: a}}]}
        """
    )
    found = await login({"KUBECONFIG": str(tmp_path / "config")}, tmp_path)
    assert found.server == "https://api.example:6443"
    assert (await found.authorization()).lower() == "bearer secret"


def test_a_burst_passes_at_once_and_the_rest_at_the_rate() -> None:
    async def story() -> list[float]:
        bucket, times = TokenBucket(20, 40), []

        async def take() -> None:
            await bucket.take()
            times.append(asyncio.get_running_loop().time())

        await asyncio.gather(*(take() for _ in range(100)))
        return times

    times = run_in_virtual_time(story())
    assert times[39] == 0
    assert times[40] == pytest.approx(0.05)
    assert times[99] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("method", "path", "is_watch", "verb", "resource"),
    [
        ("GET", "/api/v1/pods", False, "list", "pods"),
        ("GET", "/api/v1/namespaces/a/pods", True, "watch", "pods"),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/b", False, "get", "deployments"),
        ("PATCH", "/apis/fastserve.io/v1alpha1/namespaces/a/modelpools/b/status", False, "patch",
         "modelpools/status"),
        ("DELETE", "/api/v1/namespaces/a/services/b", False, "delete", "services"),
        ("GET", "/api/v1/namespaces", False, "list", "namespaces"),
        ("GET", "/apis/apps/v1", False, "get", "discovery"),
        ("POST", "/apis/events.k8s.io/v1/namespaces/a/events", False, "create", "events"),
    ],
)  # fmt: skip
def test_requests_are_named_as_roles_name_them(
    method: str, path: str, is_watch: bool, verb: str, resource: str
) -> None:
    assert request_of(method, path, is_watch=is_watch) == Request(verb, resource)
