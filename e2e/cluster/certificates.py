"""A certificate authority of the cluster's own, and everything that it signs."""

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster import files
from cluster.places import API_ADDRESS, API_SERVICE_ADDRESS

LIFETIME = dt.timedelta(days=3650)
SKEW = dt.timedelta(minutes=5)
API_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)


@dataclass(frozen=True)
class Holder:
    """Whom a certificate is for: a user of the API (name, groups), or a server (names, addresses)."""

    file: str
    name: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True)
class Signed:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


HOLDERS = (
    Holder(
        "apiserver",
        "kube-apiserver",
        hosts=API_NAMES,
        addresses=(API_ADDRESS, API_SERVICE_ADDRESS, "127.0.0.1"),
    ),
    Holder("apiserver-to-kubelet", "kube-apiserver-kubelet-client", groups=("system:masters",)),
    Holder("admin", "fastserve-admin", groups=("system:masters",)),
    Holder("controller-manager", "system:kube-controller-manager"),
    Holder("scheduler", "system:kube-scheduler"),
    Holder("kube-proxy", "system:kube-proxy"),
    Holder("kwok", "fastserve-kwok", groups=("system:masters",)),
)


def kubelet_holder(node: str, address: str) -> Holder:
    """One certificate for both sides of a kubelet: its name at the API, its address as a server."""
    return Holder(node, f"system:node:{node}", groups=("system:nodes",), hosts=(node,), addresses=(address,))


def ensure_authority(folder: Path) -> Signed:
    """The authority of `folder`, made where there is none."""
    certificate, key = folder / "ca.crt", folder / "ca.key"
    if certificate.exists() and key.exists():
        loaded = serialization.load_pem_private_key(key.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{key} holds no key of an elliptic curve")
        return Signed(x509.load_pem_x509_certificate(certificate.read_bytes()), loaded)
    authority = make_authority()
    write(folder, "ca", authority)
    return authority


def ensure(folder: Path, authority: Signed, holder: Holder) -> None:
    """A certificate and key of `holder` as FILE.crt and FILE.key; an existing one is kept."""
    if not ((folder / f"{holder.file}.crt").exists() and (folder / f"{holder.file}.key").exists()):
        write(folder, holder.file, sign(authority, holder))


def ensure_service_account_key(folder: Path) -> None:
    """RSA, because every library that reads tokens knows RS256."""
    if (folder / "service-accounts.key").exists():
        return
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "service-accounts.pub").write_bytes(public)
    _write_secret(folder / "service-accounts.key", _private_pem(key))


def make_authority() -> Signed:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fastserve-cluster")])
    builder = _builder(name, name, key.public_key()).add_extension(
        x509.BasicConstraints(True, 0), critical=True
    )
    builder = builder.add_extension(
        _key_usage("key_cert_sign", "crl_sign", "digital_signature"), critical=True
    )
    return Signed(builder.sign(key, hashes.SHA256()), key)


def sign(authority: Signed, holder: Holder) -> Signed:
    """A certificate for clients, and for servers too where the holder has a host or an address."""
    key = ec.generate_private_key(ec.SECP256R1())
    groups = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in holder.groups]
    subject = x509.Name([*groups, x509.NameAttribute(NameOID.COMMON_NAME, holder.name)])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(subject, authority.certificate.subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(False, None), critical=True)
    builder = builder.add_extension(_key_usage("digital_signature"), critical=True)
    if holder.hosts or holder.addresses:
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        hosts = [x509.DNSName(host) for host in holder.hosts]
        addresses = [x509.IPAddress(ipaddress.ip_address(address)) for address in holder.addresses]
        builder = builder.add_extension(x509.SubjectAlternativeName([*hosts, *addresses]), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key())
    return Signed(builder.add_extension(issuer, critical=False).sign(authority.key, hashes.SHA256()), key)


def write(folder: Path, name: str, signed: Signed) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / f"{name}.crt").write_bytes(signed.certificate.public_bytes(serialization.Encoding.PEM))
    _write_secret(folder / f"{name}.key", _private_pem(signed.key))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number(), now - SKEW, now + LIFETIME)
        # Python's own verification (VERIFY_X509_STRICT since 3.13) wants these identifiers.
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _key_usage(*used: str) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in used for name in names})


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    # PKCS 8 is read by everything in the cluster.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write_secret(path: Path, content: bytes) -> None:
    files.write(path, content.decode(), files.SECRET)
