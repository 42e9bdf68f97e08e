"""Certificates for 127.0.0.1, made for one run of the tests."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority's certificate, the server's chain and its key, and both of these in one file."""

    authority: Path
    server: Path
    server_key: Path
    keystore: Path


def make_certificates(directory: Path) -> Certificates:
    """Write them into `directory`; they hold for a day."""
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = dt.datetime.now(tz=dt.UTC)

    def certificate(name: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority_name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
        )
        return builder.sign(authority_key, hashes.SHA256())

    pem, key_format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    root = certificate(authority_name, authority_key, authority=True).public_bytes(pem)
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    chain = certificate(server_name, server_key, authority=False).public_bytes(pem) + root
    private = server_key.private_bytes(pem, key_format, serialization.NoEncryption())
    names = ("authority.pem", "server.pem", "server-key.pem", "keystore.pem")
    files = Certificates(*(directory / name for name in names))
    for path, content in zip(vars(files).values(), (root, chain, private, private + chain), strict=True):
        path.write_bytes(content)
    return files
