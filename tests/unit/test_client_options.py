"""Every option of kafka-python either passes through harmlessly or is refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer

from streamlearn.config import Config, Kafka, load
from streamlearn.config.client_options import CHOICES, WHOLE_NUMBERS
from streamlearn.config.passed_through import OBJECTS, OWN_OPTIONS
from streamlearn.consumer.client import make_consumer
from streamlearn.consumer.consumer import MOST_RESIGNED, Consumer
from streamlearn.consumer.dead_letters import DeadLetters
from streamlearn.consumer.decode import Decoder
from streamlearn.errors import BrokerError, ConfigurationError
from streamlearn.masking import is_secret
from streamlearn.source import Watch

OPTIONS = {**KafkaProducer.DEFAULT_CONFIG, **KafkaConsumer.DEFAULT_CONFIG}
PASSED: dict[str, Any] = {
    "batch_size": 2**16,
    "bootstrap_timeout_ms": 5000,
    "client_dns_lookup": "use_all_dns_ips",
    "client_id": "learner",
    "client_rack": "a",
    "compression_type": "gzip",
    "connections_max_idle_ms": 60_000,
    "delivery_timeout_ms": 40_000,
    "enable_incremental_fetch_sessions": False,
    "exclude_internal_topics": False,
    "fetch_max_bytes": 2**24,
    "fetch_max_wait_ms": 0,
    "fetch_min_bytes": 1,
    "heartbeat_interval_ms": 1000,
    "isolation_level": "read_uncommitted",
    "linger_ms": 5,
    "max_block_ms": 5000,
    "max_partition_fetch_bytes": 2**21,
    "max_poll_interval_ms": 60_000,
    "max_request_size": 2**21,
    "metadata_max_age_ms": 30_000,
    "metric_group_prefix": "learner",
    "metrics_enabled": True,
    "metrics_num_samples": 2,
    "metrics_sample_window_ms": 30_000,
    "proxy_url": None,
    "receive_buffer_bytes": 2**16,
    "receive_message_max_bytes": 10**8,
    "reconnect_backoff_max_ms": 3000,
    "reconnect_backoff_ms": 0,
    "request_timeout_ms": 20_000,
    "retry_backoff_ms": 0,
    "sasl_kerberos_domain_name": "kafka.example",
    "sasl_kerberos_name": "learner",
    "sasl_kerberos_service_name": "kafka",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_password": "secret",
    "sasl_plain_username": "learner",
    "security_protocol": "PLAINTEXT",
    "send_buffer_bytes": 2**16,
    "session_timeout_ms": 6000,
    "socket_options": [[6, 1, 1]],
    "socks5_proxy": None,
    "ssl_cafile": None,
    "ssl_certfile": None,
    "ssl_check_hostname": True,
    "ssl_ciphers": None,
    "ssl_crlfile": None,
    "ssl_keyfile": None,
    "ssl_password": None,
}
"""Those that nothing rests on, each with a value that says something."""


def test_each_option_is_passed_through_or_refused() -> None:
    known = {*OPTIONS, *KafkaAdminClient.DEFAULT_CONFIG}
    assert known == {*PASSED, *OWN_OPTIONS, *OBJECTS}
    assert not PASSED.keys() & (OWN_OPTIONS | OBJECTS)


def test_those_that_pass_do_so_together() -> None:
    assert Kafka(client=PASSED).client == PASSED


@pytest.mark.parametrize("option", sorted((OWN_OPTIONS | OBJECTS) & OPTIONS.keys()))
def test_what_the_promise_rests_on_is_refused_in_one_sentence(option: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"kafka\.client: '{option}' (is decided by streamlearn|takes a Python obj)"
    ):
        load(overrides=[f"kafka.client.{option}=1"])


@pytest.mark.parametrize("option", sorted(option for option in PASSED if not is_secret(option)))
@pytest.mark.parametrize("value", ["[1]", "{a: 1}", "-1", "1.5", "", "3000000000", "soon"])
def test_a_value_that_makes_no_sense_is_refused_in_one_sentence(option: str, value: str) -> None:
    override = f"kafka.client.{option}={value}"
    text = OPTIONS[option] is None or isinstance(OPTIONS[option], str)
    if text and value == "soon" and option not in {*CHOICES, *WHOLE_NUMBERS}:
        assert load(overrides=[override]).kafka.client[option] == "soon"
        return
    with pytest.raises(ConfigurationError) as refused:
        load(overrides=[override])
    assert "\n" not in str(refused.value)
    assert option in str(refused.value) or value == ""


@pytest.mark.parametrize(
    ("client", "words"),
    [
        ({"session_timeout_ms": 1}, "from 1000"),
        ({"heartbeat_interval_ms": 10_000}, "has to be less than 'session_timeout_ms' (10000)"),
        ({"session_timeout_ms": 2000}, "'heartbeat_interval_ms' (2000) has to be less"),
        ({"request_timeout_ms": 100}, "from 1000"),
        ({"max_block_ms": 1}, "from 1000"),
        ({"fetch_max_wait_ms": 60_000}, "has to be less than 'request_timeout_ms' (30000)"),
        ({"connections_max_idle_ms": 100}, "has to be less than 'connections_max_idle_ms'"),
        ({"security_protocol": "SASL"}, "one of PLAINTEXT, SASL_PLAINTEXT, SASL_SSL, SSL"),
        ({"security_protocol": "SASL_SSL"}, "needs a 'sasl_mechanism'"),
        ({"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}, "needs a 'sasl_plain_username'"),
        ({"sasl_mechanism": "OAUTHBEARER"}, "'sasl_mechanism' is one of"),
        ({"isolation_level": "serializable"}, "'isolation_level' is one of"),
        ({"compression_type": "zip"}, "'compression_type' is one of"),
    ],
)
def test_options_that_contradict_themselves_or_each_other_are_refused(client: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="Value error") as refused:
        Kafka(client=client)
    assert words in str(refused.value)


@pytest.mark.parametrize("option", ["ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"])
def test_a_file_that_is_not_there_is_named_before_kafka_is_asked(option: str) -> None:
    kafka = Kafka(bootstrap_servers="127.0.0.1:9", client={"security_protocol": "SSL", option: "/nowhere/file.pem"})
    with pytest.raises(ConfigurationError, match=rf"kafka\.client\.{option}: cannot read /nowhere/file\.pem"):
        make_consumer(kafka)


def test_which_records_of_transactions_are_read_is_part_of_what_decides_the_weights() -> None:
    uncommitted = load(overrides=["kafka.client.isolation_level=read_uncommitted"])
    said = load(overrides=["kafka.client.isolation_level=read_committed"])
    assert uncommitted.digest() != Config().digest() == said.digest()


def test_learners_that_take_the_state_from_each_other_again_and_again_end_with_one_sentence() -> None:
    nothing: Any = lambda *_: None  # noqa: E731
    letters = DeadLetters(nothing, "none", refused=nothing)
    consumer = Consumer(Kafka(), decoder=Decoder(Config().events), dead_letters=letters, watch=Watch())
    for _ in range(MOST_RESIGNED):
        consumer.resign()
    assert consumer.queue.failed is None
    consumer.resign()
    with pytest.raises(BrokerError, match=r"each need a publisher\.directory of their own"):
        consumer.wait_for_term(0, 0.0)
