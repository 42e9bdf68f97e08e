"""Decodes a Kafka record into an event, or into the reason why it is not one.

Decoding is a pure function of the record and the configuration, so a record read again after a restart is accepted or
refused as before. Nothing in a payload is ever evaluated. A user's own function (``events.decoder``) must be pure as
well; whether it evaluates payloads is up to its author.
"""

from __future__ import annotations

from streamlearn.config import Events
from streamlearn.config.schema_registry import SchemaRegistry
from streamlearn.consumer.decoding.acceptance import ABOUT, Acceptance
from streamlearn.consumer.decoding.fields import FIELDS, RefusedError
from streamlearn.consumer.decoding.shapes import fields_reader, shaped
from streamlearn.errors import BrokerError
from streamlearn.events import NAME_LIMIT, UNLABELLED, Event, Reason
from streamlearn.records import Record, Withheld


class Decoder:
    """Decodes the event in a record; its format is configurable.

    From a JSON object with the fields at its top level, only these fields are read.

    Parameters
    ----------
    config
        The format of values, the paths of the fields, the limit on the text, and the closed set of labels, if any.
    registry
        The registry of the schemas that values refer to.
    labelled
        Whether an event has a label; if not, the label's field is ignored.

    Raises
    ------
    ConfigurationError
        If a package that the format needs is not installed, or ``events.decoder`` names no function.

    Examples
    --------
    >>> decode = Decoder(Events()).decode
    >>> value = b'{"text": "late again", "label": "complaint"}'
    >>> decode(Record("t", 0, 7, 1_700_000_000_000, None, value, [])).id
    't/0/7'
    >>> decode(Record("t", 0, 8, 1_700_000_000_000, None, b'{"text": "late again"}', []))
    <Reason.MISSING_FIELD: 'missing_field'>
    >>> unlabelled = Decoder(Events(), labelled=False).decode
    >>> unlabelled(Record("t", 0, 8, 1_700_000_000_000, None, b'{"text": "late again"}', [])).text
    'late again'

    """

    def __init__(self, config: Events, registry: SchemaRegistry | None = None, *, labelled: bool = True) -> None:
        self._event = Acceptance(config, labelled=labelled).event
        self._labelled = labelled
        fields = [field for field in FIELDS if labelled or field != "label"]
        self._shaped = shaped(config, registry, fields)
        self._read = fields_reader(config, fields) or self._shaped.read

    def decode(self, record: Record) -> Event | Reason:
        """Return the event in `record`, or the reason why there is none.

        Raises
        ------
        UnavailableError
            If the registry of its schema does not answer: then nothing is known about the record.
        BrokerError
            If it refuses.

        """
        value = record.value
        if value.__class__ is not bytes and (value is None or isinstance(value, Withheld)):
            return value.reason if value is not None else Reason.TOMBSTONE
        try:
            wire = self._read(record)
        except RefusedError as error:
            return error.reason
        return self._event(record, wire.text, wire.label if self._labelled else UNLABELLED, wire.id, wire.timestamp)

    def where(self, record: Record) -> dict[str, list[str]]:
        """Return for each field the configured paths at which `record` has a value; RefusedError if unreadable."""
        return self._shaped.where(record)

    def detail(self, record: Record, reason: Reason) -> str:
        """Return the field that the refusal of `record` for `reason` concerns; empty if none."""
        if reason in ABOUT:
            return ABOUT[reason]
        if record.value is None or isinstance(record.value, Withheld):
            return ""
        try:
            wire = self._read(record)
        except RefusedError as error:
            return error.detail
        except BrokerError:  # of the registry, which has answered before
            return ""
        return "" if reason is not Reason.FIELD_TOO_LONG else "id" if len(str(wire.id)) > NAME_LIMIT else "label"
