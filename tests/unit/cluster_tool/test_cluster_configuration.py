import json
from pathlib import Path

import pytest

from cluster import control_plane, dns, gpus, kubeconfig, kwok, network, node, packages, service_proxy
from cluster.certificates import HOLDERS, ensure, ensure_authority, kubelet_holder
from cluster.places import Places

PLACES = Places(Path("/cache"), Path("/state"))
FIRST, SECOND = PLACES.node(1), PLACES.node(2)


def test_two_nodes_share_no_folder_address_bridge_or_cgroup() -> None:
    shared = {
        name
        for name in (
            "name",
            "bridge",
            "address",
            "pods",
            "network",
            "cgroup",
            "containerd_root",
            "socket",
            "leases",
        )
        if getattr(FIRST, name) == getattr(SECOND, name)
    }
    assert shared == set()


def test_the_name_of_a_bridge_fits_the_kernel() -> None:
    assert len(PLACES.node(9).bridge) <= 15


def test_a_node_gives_out_addresses_of_its_own_range_by_its_own_bridge() -> None:
    plugins = json.loads(network.plugins_configuration(SECOND))["plugins"]
    assert [plugin["type"] for plugin in plugins] == ["bridge", "portmap"]
    assert plugins[0]["bridge"] == SECOND.bridge
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert plugins[0]["ipam"]["dataDir"] == str(SECOND.leases)


def test_containerd_stays_inside_the_folder_of_its_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "plugin_folder", lambda: Path("/plugins"))
    text = node.containerd_configuration(SECOND, "localhost/pause:1")
    paths = [line.partition('"')[2].rstrip('"') for line in text.splitlines() if '= "/' in line]
    assert [path for path in paths if not path.startswith(str(SECOND.folder))] == ["/plugins"]
    assert "restrict_oom_score_adj = true" in text


def test_the_kubelet_keeps_images_and_caps_the_crash_back_off() -> None:
    written = node.kubelet_configuration(PLACES, FIRST)
    assert written["imageGCHighThresholdPercent"] == 100
    assert written["crashLoopBackOff"] == {"maxContainerRestartPeriod": "1s"}
    assert written["address"] == FIRST.address


def test_the_controllers_own_throttles_are_raised() -> None:
    assert "--kube-api-qps=500" in control_plane.controller_manager(PLACES).command
    connection = control_plane.scheduler_configuration(PLACES)["clientConnection"]
    assert connection == {"kubeconfig": "/state/config/scheduler.kubeconfig", "qps": 500, "burst": 1000}


def test_the_api_server_audits_every_request_and_authorizes_nodes() -> None:
    scale = {"group": "fastserve.io", "resources": ["submodels/scale"]}
    assert control_plane.audit_policy()["rules"] == [
        {"level": "Request", "verbs": ["update", "patch"], "resources": [scale]},
        {"level": "Metadata"},
    ]
    command = control_plane.api_server(PLACES).command
    assert "--authorization-mode=Node,RBAC" in command
    assert "--audit-log-path=/state/logs/audit.log" in command
    assert "--advertise-address=10.244.0.1" in command


def test_kube_proxy_leaves_the_connection_tracking_of_the_machine_alone() -> None:
    written = service_proxy.configuration(PLACES, FIRST)
    assert written["mode"] == "nftables"
    assert written["conntrack"] == {
        "maxPerCore": 0,
        "min": 0,
        "tcpEstablishedTimeout": "0s",
        "tcpCloseWaitTimeout": "0s",
    }


def test_a_kubeconfig_holds_the_authority_and_the_holder(tmp_path: Path) -> None:
    authority = ensure_authority(tmp_path)
    for holder in (*HOLDERS, kubelet_holder("n", "10.244.0.1")):
        ensure(tmp_path, authority, holder)
    written = json.loads(kubeconfig.render(tmp_path, "admin"))
    assert written["clusters"][0]["cluster"]["server"] == "https://10.244.0.1:6443"
    assert set(written["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def test_the_manifest_of_dns_has_no_word_left_to_fill_in() -> None:
    text = dns.manifest("localhost/coredns:1")
    assert "$" not in text
    assert "clusterIP: 10.96.0.10" in text
    assert "image: localhost/coredns:1" in text


def test_a_node_counts_as_advertised_only_with_all_labels_and_both_counts() -> None:
    four = {gpus.RESOURCE: "4"}
    whole = {"metadata": {"labels": dict(gpus.LABELS)}, "status": {"capacity": four, "allocatable": four}}
    assert gpus.advertised(whole)
    assert not gpus.advertised({**whole, "status": {"capacity": four, "allocatable": {gpus.RESOURCE: "0"}}})
    assert not gpus.advertised({**whole, "metadata": {}})


def test_the_patch_of_a_node_escapes_the_slash_of_the_resource() -> None:
    assert [step["path"] for step in gpus.patch()] == [
        "/status/capacity/nvidia.com~1gpu",
        "/status/allocatable/nvidia.com~1gpu",
    ]


def test_a_fake_node_takes_only_what_tolerates_it() -> None:
    fake = kwok.fake_node(7)
    assert fake["metadata"]["name"] == "fake-0007"
    assert fake["spec"]["taints"] == [{"key": "kwok.x-k8s.io/node", "value": "fake", "effect": "NoSchedule"}]
    assert fake["status"]["allocatable"]["nvidia.com/gpu"] == "4"


def test_missing_go_is_told_with_where_it_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "GO_FOLDER", tmp_path / "go")
    with pytest.raises(packages.ClusterFailed, match="Go is missing"):
        packages.go_program()


def test_missing_programs_are_named_by_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(packages, "PLUGIN_FOLDERS", (tmp_path,))
    assert packages.missing_packages() == sorted({*packages.PROGRAMS.values(), "containernetworking-plugins"})
