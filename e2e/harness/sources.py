"""Real servers of every kind of source on this machine, each with the same model, where pods reach them: a
file server and a hub with TLS, moto's S3, a GCS server and a registry built from Go modules."""

import hashlib
import io
import json
import ssl
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import obstore
from obstore.store import S3Store

from harness.signed_bucket import Account, guarded
from harness.target import address_for_pods
from wiring.fetching.fetching_world import FileServer, Served, certificate
from wiring.fetching.source_servers import GCS, REGISTRY, built, free_port, s3_python, serving

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKEN, WRONG = "open-sesame", "open-barley"
HTPASSWD = "puller:$2y$04$i3PCFadCTzsKnQzw2A01QuC8uiLSnhTH/4qfwGBB.6JVt77bSTfQG\n"
"""What htpasswd makes of the user ``puller`` and the token."""
KEYS = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLEKEY", "AWS_SECRET_ACCESS_KEY": "the-secret-key"}
"""Of whoever fills the bucket, before moto asks everybody for keys that it gave."""
READER = """
import json, sys, boto3
keys = {"aws_access_key_id": sys.argv[2], "aws_secret_access_key": sys.argv[3]}
iam = boto3.client("iam", endpoint_url=sys.argv[1], region_name="us-east-1", **keys)
may = [{"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetObject"], "Resource": "*"}]
iam.create_user(UserName="reader")
policy = json.dumps({"Version": "2012-10-17", "Statement": may})
iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=policy)
key = iam.create_access_key(UserName="reader")["AccessKey"]
print(json.dumps({"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}))
"""


@dataclass(frozen=True)
class Offer:
    """A model at a source: what stands in spec.model.storageUri, and the keys of the Secret that its server
    asks for. `digest` is the source's own, where it has one; `wrong` are those keys of the Secret, with WRONG
    in them, that the server refuses."""

    uri: str
    secret: Mapping[str, str]
    digest: str = ""
    wrong: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Offers:
    """By scheme. `archive` is the file behind the https URI; it can be made slow."""

    by_scheme: dict[str, Offer] = field(default_factory=dict)
    archive: Served = field(default_factory=lambda: Served(b""))


@contextmanager
def offered(folder: Path, checkpoint: Path) -> Iterator[Offers]:
    """All servers, with the files of `checkpoint`; their state lies in `folder`."""
    address = address_for_pods()
    files = {path.name: path.read_bytes() for path in sorted(checkpoint.iterdir()) if path.is_file()}
    archive = Served(tar_of(files), authorization=f"Bearer {TOKEN}")
    offers = Offers(archive=archive)
    with ExitStack() as running:
        web = FileServer(folder, {"/sport.tar": archive, **hub_files(files)}, address=address)
        running.enter_context(web.running())
        ca = web.ca.read_text()
        secret = {"ca.crt": ca, "bearerToken": TOKEN}
        digest = "sha256:" + hashlib.sha256(archive.content).hexdigest()
        offers.by_scheme["https"] = Offer(web.url("/sport.tar"), secret, digest, {"bearerToken": WRONG})
        hub = {"ca.crt": ca, "HF_TOKEN": TOKEN, "HF_ENDPOINT": web.url("")}
        offers.by_scheme["hf"] = Offer("hf://desk/sport", hub, wrong={"HF_TOKEN": WRONG})
        offers.by_scheme["s3"] = running.enter_context(s3(folder, address, files))
        offers.by_scheme["gs"] = running.enter_context(gs(folder, address, files))
        offers.by_scheme["oci"] = running.enter_context(oci(folder, address, archive.content))
        yield offers


def tar_of(files: Mapping[str, bytes]) -> bytes:
    """The files as an archive that is not compressed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"sport/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def hub_files(files: Mapping[str, bytes]) -> dict[str, Served]:
    """What a hub answers for desk/sport at its revision main."""
    siblings = [
        {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
        for name, content in files.items()
    ]
    about = {"id": "desk/sport", "sha": COMMIT, "siblings": siblings}
    authorization = f"Bearer {TOKEN}"
    return {
        "/api/models/desk/sport": Served(json.dumps(about).encode(), authorization=authorization),
        **{
            f"/desk/sport/resolve/{COMMIT}/{name}": Served(content, authorization=authorization)
            for name, content in files.items()
        },
    }


@contextmanager
def s3(folder: Path, address: str, files: Mapping[str, bytes]) -> Iterator[Offer]:
    port = free_port(address)
    endpoint = f"http://{address}:{port}"
    command = [str(s3_python()), "-m", "moto.server", "-H", address, "-p", str(port)]
    with serving(command, port, folder / "s3.log", address):
        httpx2.put(f"{endpoint}/models").raise_for_status()
        store = S3Store(
            "models",
            endpoint=endpoint,
            region="us-east-1",
            access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
            client_options={"allow_http": True},
        )
        for name, content in files.items():
            obstore.put(store, f"sport/{name}", content)
        script = [str(s3_python()), "-c", READER, endpoint, *KEYS.values()]
        keys = json.loads(subprocess.run(script, check=True, capture_output=True, text=True).stdout)
        # From the next request on it checks every signature against the keys that it gave.
        httpx2.post(f"{endpoint}/moto-api/reset-auth", content=b"0").raise_for_status()
        secret = {**keys, "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"}
        yield Offer("s3://models/sport", secret, wrong={"AWS_SECRET_ACCESS_KEY": WRONG})


@contextmanager
def gs(folder: Path, address: str, files: Mapping[str, bytes]) -> Iterator[Offer]:
    port, behind = free_port(address), free_port()
    local = f"127.0.0.1:{behind}"
    command = [str(built(GCS)), "-scheme", "http", "-host", "127.0.0.1", "-port", str(behind)]
    command += ["-backend", "memory", "-public-host", f"{address}:{port}"]
    with serving(command, behind, folder / "gs.log"), guarded(address, port, local) as account:
        httpx2.post(f"http://{local}/storage/v1/b", json={"name": "models"}).raise_for_status()
        for name, content in files.items():
            url, query = f"http://{local}/upload/storage/v1/b/models/o", {"uploadType": "media"}
            put = httpx2.post(url, params={**query, "name": f"sport/{name}"}, content=content, timeout=60)
            put.raise_for_status()
        secret = {"GCS_ENDPOINT": f"http://{address}:{port}", "service-account.json": account.document("1")}
        wrong = {"service-account.json": Account.new().document(WRONG)}
        yield Offer("gs://models/sport", secret, wrong=wrong)


@contextmanager
def oci(folder: Path, address: str, layer: bytes) -> Iterator[Offer]:
    """A registry with TLS and one user, and in it the model as an artefact of one layer, a tar."""
    port, home = free_port(address), folder / "registry"
    home.mkdir()
    ca, key = certificate(home, address)
    (home / "htpasswd").write_text(HTPASSWD)
    tls = {"certificate": str(ca), "key": str(key)}
    about = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(home / "store")}},
        "http": {"addr": f"{address}:{port}", "relativeurls": True, "tls": tls},
        "auth": {"htpasswd": {"realm": "models", "path": str(home / "htpasswd")}},
    }
    (home / "registry.yaml").write_text(json.dumps(about))
    with serving([str(built(REGISTRY)), "serve", str(home / "registry.yaml")], port, home / "log", address):
        digest = _push(f"https://{address}:{port}", ca, layer)
        right, wrong = (
            {"auths": {f"{address}:{port}": {"username": "puller", "password": password}}}
            for password in (TOKEN, WRONG)
        )
        secret = {"ca.crt": ca.read_text(), ".dockerconfigjson": json.dumps(right)}
        uri = f"oci://{address}:{port}/desk/sport:1.0"
        yield Offer(uri, secret, digest, {".dockerconfigjson": json.dumps(wrong)})


def _push(registry: str, ca: Path, layer: bytes) -> str:
    """Push the layer as ``desk/sport:1.0``; the digest of its manifest."""
    with httpx2.Client(
        base_url=f"{registry}/v2/desk/sport/",
        auth=("puller", TOKEN),
        verify=ssl.create_default_context(cafile=ca),
        follow_redirects=True,
        timeout=60,
    ) as client:
        described = [
            {"mediaType": kind, "size": len(content), "digest": _blob(client, registry, content)}
            for kind, content in (
                ("application/vnd.oci.empty.v1+json", b"{}"),
                ("application/vnd.oci.image.layer.v1.tar", layer),
            )
        ]
        kind = "application/vnd.oci.image.manifest.v1+json"
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": described[0], "layers": described[1:]}
        content = json.dumps(manifest).encode()
        client.put("manifests/1.0", content=content, headers={"Content-Type": kind}).raise_for_status()
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _blob(client: httpx2.Client, registry: str, content: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    begun = client.post("blobs/uploads/")
    begun.raise_for_status()
    url = httpx2.URL(registry).join(begun.headers["Location"]).copy_merge_params({"digest": digest})
    client.put(url, content=content).raise_for_status()
    return digest
