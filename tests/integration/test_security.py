"""SCRAM over TLS on Apache Kafka, with certificates made here; the options pass through ``kafka.client``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamlearn.config import load
from streamlearn.errors import BrokerError
from streamlearn.local.broker import ApacheKafka, free_port
from streamlearn.pipeline import Pipeline
from tests.certificates import Certificates, make_certificates
from tests.integration.conftest import settings
from tests.integration.learner import event, send, wait_until, with_topic
from tests.integration.test_trouble import running, trained

USER, PASSWORD = "learner", "correct-horse"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


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
    config = with_topic([*plain, *secure(certificates, PASSWORD), "events.holdout_ratio=0"])
    send(config, [*(event(n) for n in range(32)), b"poison"])
    pipeline = Pipeline(config)
    with running(pipeline):
        wait_until(lambda: trained(pipeline) == 32, "all is learnt")
        assert pipeline.dead_letters.settle(20)
    wrong = load(overrides=[*plain, *secure(certificates, "wrong"), "kafka.connect_timeout_seconds=5"])
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1"):
        Pipeline(wrong).run()
