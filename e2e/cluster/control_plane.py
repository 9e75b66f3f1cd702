"""etcd, the API server, the controller manager and the scheduler."""

import json
import shutil
import ssl
import urllib.request
from pathlib import Path

from cluster import certificates, files, kubeconfig
from cluster.places import (
    API_ADDRESS,
    API_PORT,
    API_URL,
    ETCD_PEER_URL,
    ETCD_URL,
    POD_RANGE,
    SERVICE_RANGE,
    Places,
)
from cluster.processes import Processes, Program
from cluster.waiting import Wait, wait

QPS, BURST = 500, 1000
"""Their own throttles (20 to 50 requests/s) would be measured instead of our operator's."""
WORKERS = 20
AUDITED_MEGABYTES = 200


def write_files(places: Places) -> None:
    """Certificates, kubeconfigs and configuration files of the control plane; existing keys are kept."""
    places.configuration.mkdir(parents=True, exist_ok=True, mode=0o700)
    pki = places.certificates
    authority = certificates.ensure_authority(pki)
    for holder in certificates.HOLDERS:
        certificates.ensure(pki, authority, holder)
    certificates.ensure_service_account_key(pki)
    files.write(places.kubeconfig, kubeconfig.render(pki, "admin"), files.SECRET)
    for name in ("controller-manager", "scheduler", "kube-proxy", "kwok"):
        files.write(_kubeconfig(places, name), kubeconfig.render(pki, name), files.SECRET)
    contents = {"audit-policy": audit_policy(), "scheduler": scheduler_configuration(places)}
    for name, content in contents.items():
        files.write(_configuration(places, name), json.dumps(content, indent=2))


def start(places: Places, processes: Processes) -> None:
    """Start what is not running, and wait until the API server is ready. Raises ClusterFailed."""
    places.etcd.mkdir(parents=True, exist_ok=True, mode=0o700)
    processes.ensure(etcd(places))
    wait(_ready(processes, "etcd", f"{ETCD_URL}/health", None))
    processes.ensure(api_server(places))
    wait(_ready(processes, "kube-apiserver", f"{API_URL}/readyz", places.certificates))
    processes.ensure(controller_manager(places))
    processes.ensure(scheduler(places))


def answers(url: str, pki: Path | None) -> str:
    """Empty when `url` answers 200; else why not. With `pki`, as the cluster's admin."""
    context = None
    if pki is not None:
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    try:
        with urllib.request.urlopen(url, timeout=2, context=context) as answer:
            return "" if answer.status == 200 else f"it answers {answer.status}"
    except OSError as error:
        return str(error)


def reset(places: Places) -> None:
    """Forget the cluster: its objects, keys and kubeconfig."""
    for folder in (places.etcd, places.certificates, places.configuration):
        shutil.rmtree(folder, ignore_errors=True)
    places.kubeconfig.unlink(missing_ok=True)


def _ready(processes: Processes, name: str, url: str, pki: Path | None) -> Wait:
    return Wait(
        f"{name} at {url}", lambda: answers(url, pki), 60, processes.log(name), lambda: processes.alive(name)
    )


def etcd(places: Places) -> Program:
    command = (
        f"{places.programs}/etcd",
        "--name=fastserve",
        f"--data-dir={places.etcd}",
        f"--listen-client-urls={ETCD_URL}",
        f"--advertise-client-urls={ETCD_URL}",
        f"--listen-peer-urls={ETCD_PEER_URL}",
        f"--initial-advertise-peer-urls={ETCD_PEER_URL}",
        f"--initial-cluster=fastserve={ETCD_PEER_URL}",
        "--unsafe-no-fsync",  # a power cut may cost the cluster, which is made anew in a minute
        "--log-level=warn",
    )
    return Program("etcd", command)


def api_server(places: Places) -> Program:
    pki = places.certificates
    command = (
        f"{places.programs}/kube-apiserver",
        f"--etcd-servers={ETCD_URL}",
        f"--bind-address={API_ADDRESS}",
        f"--advertise-address={API_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        f"--kubelet-client-certificate={pki}/apiserver-to-kubelet.crt",
        f"--kubelet-client-key={pki}/apiserver-to-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction,PodSecurity",
        f"--audit-policy-file={_configuration(places, 'audit-policy')}",
        f"--audit-log-path={places.audit_log}",
        f"--audit-log-maxsize={AUDITED_MEGABYTES}",
        "--audit-log-maxbackup=5",
        "--allow-privileged=true",
    )
    return Program("kube-apiserver", command, (_configuration(places, "audit-policy"), pki / "apiserver.crt"))


def controller_manager(places: Places) -> Program:
    pki = places.certificates
    command = (
        f"{places.programs}/kube-controller-manager",
        f"--kubeconfig={_kubeconfig(places, 'controller-manager')}",
        f"--root-ca-file={pki}/ca.crt",
        f"--service-account-private-key-file={pki}/service-accounts.key",
        f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key",
        f"--cluster-cidr={POD_RANGE}",
        "--allocate-node-cidrs=false",
        "--use-service-account-credentials",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--kube-api-qps={QPS}",
        f"--kube-api-burst={BURST}",
        f"--concurrent-deployment-syncs={WORKERS}",
        f"--concurrent-replicaset-syncs={WORKERS}",
        f"--concurrent-service-endpoint-syncs={WORKERS}",
    )
    return Program("kube-controller-manager", command, (_kubeconfig(places, "controller-manager"),))


def scheduler(places: Places) -> Program:
    configuration = _configuration(places, "scheduler")
    command = (
        f"{places.programs}/kube-scheduler",
        f"--config={configuration}",
        "--bind-address=127.0.0.1",
    )
    return Program("kube-scheduler", command, (configuration, _kubeconfig(places, "scheduler")))


def scheduler_configuration(places: Places) -> dict[str, object]:
    connection = {"kubeconfig": str(_kubeconfig(places, "scheduler")), "qps": QPS, "burst": BURST}
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": connection,
        "leaderElection": {"leaderElect": False},
    }


def audit_policy() -> dict[str, object]:
    """Who did what to which object, once per request; of who scales also to how many."""
    scale = {"group": "fastserve.io", "resources": ["submodels/scale"]}
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Request", "verbs": ["update", "patch"], "resources": [scale]},
            {"level": "Metadata"},
        ],
    }


def _kubeconfig(places: Places, name: str) -> Path:
    return places.configuration / f"{name}.kubeconfig"


def _configuration(places: Places, name: str) -> Path:
    return places.configuration / f"{name}.yaml"
