"""The cluster's certificate authority, which every node can be.

The authority's key comes from the cluster secret, so each node mints its own certificate and no
service hands them out. Certificates never expire: a clock that jumps must cut nobody off, and a
node is removed by changing the secret.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import ipaddress
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peerdisco.security.secrets import ClusterSecret, base32, node_id

ANY_NODE = "node.peerdisco"
"""The host name that every node's certificate bears."""

_EPOCH = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
_FOR_EVER = dt.datetime(9999, 12, 31, tzinfo=dt.UTC)
_FINGERPRINT_BYTES = 15


def host_name(node: str) -> str:
    """The host name under which a node's certificate is checked; addresses do not matter."""
    return f"{node}.{ANY_NODE}"


def authority_certificate(secret: ClusterSecret) -> x509.Certificate:
    """The authority's certificate: the same bytes on every node of the cluster."""
    key = secret.authority_key
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"peerdisco {secret.cluster_id}")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        _builder(name, name, key.public_key(), serial=1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, algorithm=None)
    )


def node_certificate(
    secret: ClusterSecret, private_key: bytes, hosts: Sequence[str] = ()
) -> x509.Certificate:
    """A node's own certificate, good for its id, for `ANY_NODE` and for the given hosts."""
    authority = authority_certificate(secret)
    public_key = Ed25519PrivateKey.from_private_bytes(private_key).public_key()
    node = public_node_id(public_key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, node)])
    serial = int.from_bytes(hashlib.sha256(node.encode()).digest()[:16], "big") | 1
    names = [x509.DNSName(host_name(node)), x509.DNSName(ANY_NODE), *map(_general_name, hosts)]
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(secret.authority_key.public_key())
    purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        _builder(name, authority.subject, public_key, serial)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(issuer, critical=False)
        .sign(secret.authority_key, algorithm=None)
    )


def fingerprint(certificate: bytes) -> str:
    """120 bits of the SHA-256 of a DER certificate in base32: what tokens carry."""
    return base32(hashlib.sha256(certificate).digest()[:_FINGERPRINT_BYTES])


def certificate_node_id(certificate: bytes) -> str | None:
    """The node id that a DER certificate's key proves, or None for a foreign kind of key."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    return public_node_id(key) if isinstance(key, Ed25519PublicKey) else None


def public_node_id(key: Ed25519PublicKey) -> str:
    """The node id of a public key."""
    return node_id(key.public_bytes(Encoding.Raw, PublicFormat.Raw))


def private_key_pem(private_key: bytes) -> bytes:
    """A raw private key in the form that OpenSSL reads."""
    key = Ed25519PrivateKey.from_private_bytes(private_key)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: Ed25519PublicKey, serial: int
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(serial)
        .not_valid_before(_EPOCH)
        .not_valid_after(_FOR_EVER)
    )


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
