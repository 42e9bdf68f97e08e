"""SCRAM over TLS on Apache Kafka, with certificates made here; the options pass through ``kafka.client``."""

from __future__ import annotations

import datetime as dt
import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from streamlearn.config import load
from streamlearn.consumer.client import create_topic
from streamlearn.errors import BrokerError
from streamlearn.local.broker import ApacheKafka, free_port
from streamlearn.pipeline import Pipeline
from tests.integration.conftest import settings
from tests.integration.learner import event, send, wait_until
from tests.integration.test_trouble import running, trained

USER, PASSWORD = "learner", "correct-horse"


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority's certificate, and the server's key with its chain in one file."""

    authority: Path
    keystore: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    directory = tmp_path_factory.mktemp("certificates")
    authority_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = dt.datetime.now(tz=dt.timezone.utc)

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
    server = certificate(server_name, server_key, authority=False).public_bytes(pem)
    private = server_key.private_bytes(pem, key_format, serialization.NoEncryption())
    files = Certificates(directory / "authority.pem", directory / "keystore.pem")
    files.authority.write_bytes(root)
    files.keystore.write_bytes(private + server + root)
    return files


@pytest.fixture
def secured(certificates: Certificates) -> Iterator[ApacheKafka]:
    """Apache Kafka that lets nobody in without TLS and a SCRAM password."""
    if not os.environ.get("KAFKA_HOME"):
        pytest.skip("KAFKA_HOME names no Apache Kafka")
    port, controller = free_port(), free_port()
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    broker = ApacheKafka(
        Path(os.environ["KAFKA_HOME"]),
        properties={
            "listeners": f"SECURE://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"SECURE://127.0.0.1:{port}",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listener.security.protocol.map": "SECURE:SASL_SSL,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "SECURE",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-256",
            "listener.name.secure.scram-sha-256.sasl.jaas.config": (f'{jaas} username="{USER}" password="{PASSWORD}";'),
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": certificates.keystore,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": certificates.authority,
        },
        format_arguments=("--add-scram", f"SCRAM-SHA-256=[name={USER},password={PASSWORD}]"),
    )
    broker.port = port
    with broker.start():
        yield broker


def secure(certificates: Certificates, password: str) -> list[str]:
    return [
        "kafka.client.security_protocol=SASL_SSL",
        "kafka.client.sasl_mechanism=SCRAM-SHA-256",
        f"kafka.client.sasl_plain_username={USER}",
        f"kafka.client.sasl_plain_password={password}",
        f"kafka.client.ssl_cafile={certificates.authority}",
    ]


def test_the_walk_runs_with_scram_over_tls(
    secured: ApacheKafka, certificates: Certificates, tiny_model: Path, tmp_path: Path
) -> None:
    plain = settings(secured, "secured", tiny_model, tmp_path)
    config = load(overrides=[*plain, *secure(certificates, PASSWORD), "events.holdout_ratio=0"])
    create_topic(config.kafka, config.kafka.topic)
    send(config, [*(event(n) for n in range(32)), b"poison"])
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 32, "all is learnt")
        assert pipeline.dead_letters.settle(20)
    wrong = load(overrides=[*plain, *secure(certificates, "wrong"), "kafka.connect_timeout_seconds=5"])
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1"):
        Pipeline(wrong).run()
