import ipaddress
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from cluster import certificates
from cluster.certificates import Holder, make_authority, sign


def alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def usages(certificate: x509.Certificate) -> list[x509.ObjectIdentifier]:
    return list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)


def test_what_the_authority_signs_verifies_against_it() -> None:
    authority = make_authority()
    sign(authority, Holder("a", "a")).certificate.verify_directly_issued_by(authority.certificate)


def test_another_authority_does_not_vouch_for_it() -> None:
    signed = sign(make_authority(), Holder("a", "a"))
    with pytest.raises(InvalidSignature):
        signed.certificate.verify_directly_issued_by(make_authority().certificate)


def test_pods_reach_the_api_server_under_its_service_address_and_name() -> None:
    holder = next(holder for holder in certificates.HOLDERS if holder.file == "apiserver")
    names = alternative_names(sign(make_authority(), holder).certificate)
    assert ipaddress.ip_address("10.96.0.1") in names.get_values_for_type(x509.IPAddress)
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)


def test_a_kubelet_is_a_node_to_the_api_and_a_server_at_its_address() -> None:
    certificate = sign(make_authority(), certificates.kubelet_holder("fastserve-1", "10.244.0.1")).certificate
    assert certificate.subject.rfc4514_string() == "CN=system:node:fastserve-1,O=system:nodes"
    assert usages(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]


def test_who_has_no_address_is_no_server() -> None:
    certificate = sign(make_authority(), Holder("admin", "admin")).certificate
    assert usages(certificate) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_second_run_keeps_every_key(tmp_path: Path) -> None:
    def run() -> dict[str, bytes]:
        authority = certificates.ensure_authority(tmp_path)
        certificates.ensure(tmp_path, authority, Holder("admin", "admin"))
        certificates.ensure_service_account_key(tmp_path)
        return {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    first = run()
    assert run() == first
    assert {
        "ca.crt",
        "ca.key",
        "admin.crt",
        "admin.key",
        "service-accounts.key",
        "service-accounts.pub",
    } <= set(first)


def test_keys_are_the_owners_alone(tmp_path: Path) -> None:
    certificates.ensure_authority(tmp_path)
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert isinstance(certificates.ensure_authority(tmp_path).key, ec.EllipticCurvePrivateKey)
