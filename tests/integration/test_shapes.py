"""Events as producers write them, on a real topic: each shape is read by configuration alone."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from streamlearn.config import Config
from streamlearn.consumer import make_source
from streamlearn.consumer.client import make_admin
from streamlearn.errors import UnavailableError
from streamlearn.events import Reason
from streamlearn.local.broker import Broker
from streamlearn.records import Range
from tests.conftest import streamlearn
from tests.integration.conftest import settings
from tests.integration.learner import LearnerProcess, learners, wait_until, with_topic
from tests.integration.records import Course
from tests.integration.wire import Sent, put
from tests.registry import avro, framed, message, proto, registry

TEXTS = [f"late refund {number}" for number in range(12)]
LABELS = ["billing", "delivery"]


def labelled() -> list[tuple[str, str, str]]:
    """Return the id, text and label of each event."""
    return [(f"e{number}", text, LABELS[number % 2]) for number, text in enumerate(TEXTS)]


@dataclass(frozen=True)
class Shape:
    """How a producer writes an event of an id, a text and a label, what it writes that is none, and the settings."""

    write: Callable[[str, str, str], Sent]
    odd: Sent
    reason: tuple[str, str]
    settings: list[str]


def as_json(value: object) -> bytes:
    return json.dumps(value).encode()


def debezium(number: str, text: str, label: str, *, schema: bool = False) -> Sent:
    row = {"id": number, "body": text, "class": label}
    change = {"before": None, "after": row, "op": "c", "ts_ms": 1_700_000_000_000, "source": {"table": "tickets"}}
    return Sent(as_json({"schema": {"type": "struct"}, "payload": change} if schema else change), number.encode())


OWN = """def pipes(record):
    number, text, label = record.value.decode().split("|")
    return {"id": number, "text": text, "label": label}
"""

SHAPES = {
    "nested": Shape(
        lambda number, text, label: Sent(as_json({"payload": {"body": text, "class": label}, "meta": {"id": number}})),
        Sent(as_json({"payload": {"body": "late again"}})),
        ("missing_field", "label"),
        ["events.fields={text: payload.body, label: payload.class, id: meta.id}"],
    ),
    "debezium": Shape(
        debezium,
        Sent(as_json({"before": {"body": "late again", "class": "billing"}, "after": None, "op": "d"})),
        ("missing_field", "text"),
        ["events.fields={text: after.body, label: after.class, id: after.id, timestamp: ts_ms}"],
    ),
    "debezium with schemas": Shape(
        lambda number, text, label: debezium(number, text, label, schema=True),
        Sent(as_json({"schema": None, "payload": {"after": {"body": 5, "class": "billing"}}})),
        ("wrong_type", "text"),
        ["events.fields={text: payload.after.body, label: payload.after.class, id: payload.after.id}"],
    ),
    "label in the key": Shape(
        lambda number, text, label: Sent(as_json({"text": text, "id": number}), label.encode()),
        Sent(as_json({"text": "late again"}), b"\xff"),
        ("not_utf8", "label"),
        ["events.fields.label=key"],
    ),
    "label in a header": Shape(
        lambda number, text, label: Sent(as_json({"text": text, "id": number}), None, (("class", label.encode()),)),
        Sent(as_json({"text": "late again"}), None, (("trace", b"billing"),)),
        ("missing_field", "label"),
        ["events.fields.label=header:class"],
    ),
    "title and body": Shape(
        lambda number, text, label: Sent(
            as_json({"title": text.rpartition(" ")[0], "body": text.rpartition(" ")[2], "label": label, "id": number})
        ),
        Sent(as_json({"title": "late", "body": ["again"], "label": "billing"})),
        ("wrong_type", "text"),
        ["events.fields.text=[title, body]"],
    ),
    "lists": Shape(
        lambda number, text, label: Sent(
            as_json(
                {
                    "messages": [{"body": "hello"}, {"body": text}],
                    "tags": [{"name": "queue", "value": "1"}, {"name": "class", "value": label}],
                    "id": number,
                }
            )
        ),
        Sent(as_json({"messages": [], "tags": [{"name": "class", "value": "billing"}]})),
        ("missing_field", "text"),
        ["events.fields={text: 'messages[-1].body', label: \"tags[?name=='class'].value | [0]\"}"],
    ),
    "odd names": Shape(
        lambda number, text, label: Sent(
            as_json({"@timestamp": 1_700_000_000, "a.b": text, "key": label, "id": number}), b"another key"
        ),
        Sent(as_json({"a.b": "late again", "label": "billing"}), b"billing"),
        ("missing_field", "label"),
        ["""events.fields={timestamp: '"@timestamp"', text: '"a.b"', label: '"key"'}"""],
    ),
    "csv": Shape(
        lambda number, text, label: Sent(f'{number};"{text}";{label}'.encode()),
        Sent(b"e1;late again"),
        ("bad_format", "2 columns"),
        ["events.format=csv", "events.csv={columns: [id, text, label], delimiter: ';'}"],
    ),
    "text": Shape(
        lambda number, text, label: Sent(text.encode(), number.encode(), (("class", label.encode()),)),
        Sent(b"late again", b"e1"),
        ("missing_field", "label"),
        ["events.format=text", "events.fields={label: header:class, id: key}"],
    ),
    "json with a schema's id": Shape(
        lambda number, text, label: Sent(b"\0\0\0\0\7" + as_json({"text": text, "label": label, "id": number})),
        Sent(as_json({"text": "late again", "label": "billing"})),
        ("bad_format", "not in the wire format of a schema registry"),
        ["events.format=json_schema"],
    ),
    "a function of the user's": Shape(
        lambda number, text, label: Sent(f"{number}|{text}|{label}".encode()),
        Sent(b"late again"),
        ("decoder", "ValueError in pipes, own_shape.py line 2"),
        ["events.decoder=own_shape:pipes"],
    ),
}


@pytest.fixture(params=SHAPES)
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


@pytest.fixture(autouse=True)
def own_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the user's, which a decoder can be imported from."""
    (tmp_path / "own_shape.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("own_shape", None)


@pytest.fixture
def overrides(apache_kafka: Broker, topic: str, tiny_model: Path, tmp_path: Path) -> list[str]:
    """The settings of a learner of a topic on Apache Kafka."""
    return settings(apache_kafka, topic, tiny_model, tmp_path)


def fill(broker: Broker, topic: str, shape: Shape) -> None:
    put(broker.bootstrap_servers, topic, [([*[shape.write(*event) for event in labelled()], shape.odd], "none")])


def test_events_of_each_shape_are_read_and_what_is_none_is_refused_by_the_name_of_the_field(
    shape: Shape, overrides: list[str]
) -> None:
    config = with_topic([*overrides, *shape.settings])
    with Course(config).running() as course:
        offsets = course.put([([shape.write(*event) for event in labelled()], "none"), ([shape.odd], "none")])
        accepted, letters, _ = course.take(offsets)
    assert accepted == offsets[:-1]
    by_id = {event.id: event for event in course.events}
    assert [(number, " ".join(by_id[number].text.split()), by_id[number].label) for number in by_id] == labelled()
    reason, detail = (letters[offsets[-1]].ours[name].decode() for name in ("reason", "detail"))
    assert (reason, detail) == shape.reason
    assert letters[offsets[-1]].value == shape.odd.value


def test_what_would_become_of_the_newest_records_is_said_of_each_shape_without_the_texts(
    apache_kafka: Broker, topic: str, shape: Shape, overrides: list[str]
) -> None:
    config = with_topic([*overrides, *shape.settings])
    fill(apache_kafka, topic, shape)
    source = make_source(config)
    *events, odd = source.sample(20)
    assert [record.offset for record in events] == list(range(len(TEXTS)))
    assert all(record.reason is None for record in events)
    assert {record.found["label"].rpartition(": ")[2] for record in events} == {"'billing'", "'delivery'"}
    assert {record.found["text"].rpartition(": ")[2] for record in events} <= {"13 characters", "14 characters"}
    assert (odd.reason and odd.reason.value, odd.detail) == shape.reason
    assert not [text for text in (*TEXTS, "again") if text in repr([*events, odd])]
    assert [record.offset for record in source.sample(3)] == [10, 11, 12]


def test_where_the_registry_is_away_consumption_waits_and_avro_is_read_once_it_answers(
    overrides: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "streamlearn")
    schema = {
        "type": "record",
        "name": "Ticket",
        "fields": [{"name": name, "type": "string"} for name in ("id", "body", "class")],
    }
    with registry() as schemas:
        number = schemas.add("tickets-value", schema)
        avro_settings = ["events.format=avro", f"kafka.schema_registry.url={schemas.url}"]
        config = with_topic([*overrides, *avro_settings, "events.fields={text: body, label: class}"])
        schemas.status = 503
        with Course(config).running() as course:
            values = [
                avro(number, schema, {"id": identity, "body": text, "class": label})
                for identity, text, label in labelled()
            ]
            odd = b"\0\0\0\0\7x"
            offsets = course.put([([Sent(value)], "none") for value in (*values, odd)])
            wait_until(lambda: len(schemas.asked) > 2, "the registry is asked again")
            schemas.status = 0
            accepted, letters, _ = course.take(offsets)
        assert accepted == offsets[:-1]
        assert sorted((event.id, event.text, event.label) for event in course.events) == sorted(labelled())
        ours = letters[offsets[-1]].ours
        assert (ours["reason"], ours["detail"]) == (b"unknown_schema", b"schema 7 is not in the registry")
        assert caplog.text.count("cannot be decoded; consumption paused") == 1
        assert next(what for what in course.waits if what) == "schemas"
        assert course.waits[-1] == ""
        assert caplog.text.count("can be decoded again; consumption resumed") == 1
        assert [record.reason for record in make_source(config).sample(3)] == [None, None, Reason.UNKNOWN_SCHEMA]
        ranges = [
            Range(config.kafka.topic, 0, 0, 3, 3),
            Range(config.kafka.topic, 0, 3, len(offsets), len(offsets) - 3),
        ]
        with closing(make_source(config).reread(ranges, isolation_level="read_committed")) as recorded:
            schemas.status = 503
            with pytest.raises(UnavailableError, match="answers 503"):
                recorded.read(ranges[0])
            schemas.status = 0
            assert [len(recorded.read(wanted).records) for wanted in ranges] == [3, len(offsets) - 3]


def test_protocol_buffers_are_read_by_the_schemas_of_the_registry(overrides: list[str]) -> None:
    ticket = proto("ticket.proto", {"Ticket": {"id": "string", "body": "string", "class": "string"}})
    with registry() as schemas:
        number = schemas.add_protobuf("tickets-value", ticket)
        of_protobuf = ["events.format=protobuf", f"kafka.schema_registry.url={schemas.url}"]
        config = with_topic([*overrides, *of_protobuf, "events.fields={text: body, label: class}"])
        with Course(config).running() as course:
            values = [
                framed(number, message(ticket, "Ticket", {"id": identity, "body": text, "class": label}))
                for identity, text, label in labelled()
            ]
            offsets = course.put([([Sent(value)], "none") for value in (*values, b"{}")])
            accepted, letters, _ = course.take(offsets)
        assert accepted == offsets[:-1]
        assert sorted((event.id, event.text, event.label) for event in course.events) == sorted(labelled())
        assert letters[offsets[-1]].ours["reason"] == b"bad_format"


def test_check_says_what_would_become_of_a_sample_and_fails_where_none_of_it_is_an_event(
    apache_kafka: Broker, topic: str, overrides: list[str]
) -> None:
    shape = SHAPES["nested"]
    config = with_topic([*overrides, "updater.experts=tokens"])
    fill(apache_kafka, topic, shape)
    sets = [f"--set={override}" for override in [*overrides, "updater.experts=tokens"]]
    wrong = streamlearn("check", "--sample", "4", *sets)
    assert wrong.returncode == 2
    assert "✗ sample: 0 of the newest 4 records are events, refused 4 missing_field (text)" in wrong.stdout
    assert "0/11 missing_field: text; text not found; label not found" in wrong.stdout
    assert "; the value is JSON object of payload, meta" in wrong.stdout
    right = streamlearn("check", "--json", "--sample", "4", *sets, *[f"--set={one}" for one in shape.settings])
    assert right.returncode == 0, right.stdout
    sample = json.loads(right.stdout)["sample"]
    assert [record["reason"] for record in sample] == [None, None, None, "missing_field"]
    assert sample[0]["found"]["text"] == "at payload.body: 13 characters"
    assert group_offsets(config) == {}


def group_offsets(config: Config) -> dict[object, object]:
    """Return the offsets that the group of `config` has committed."""
    with closing(make_admin(config.kafka)) as admin:
        found: dict[object, object] = admin.list_group_offsets([config.kafka.group])[config.kafka.group]
    return found


def test_a_learner_learns_from_a_topic_of_debeziums_changes(
    apache_kafka: Broker, topic: str, overrides: list[str]
) -> None:
    shape = SHAPES["debezium"]
    with_topic(overrides)
    fill(apache_kafka, topic, shape)
    with learners([*overrides, *shape.settings]) as start:
        learner: LearnerProcess = start("updater.experts=tokens", "events.holdout_ratio=0")
        learner.wait_for("streamlearn_events_total", len(TEXTS), outcome="trained")
        learner.wait_for("streamlearn_dead_letters_total", 1, reason="missing_field")
        assert learner.terminate() == 0
