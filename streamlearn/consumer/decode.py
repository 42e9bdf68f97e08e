"""From a Kafka record to an event, or to the reason for which it is none.

Decoding is a pure function of the record and the configuration, so a record read again after a restart is
accepted or refused as it was before. Nothing in a payload is ever evaluated. A function of the user's own
(``events.decoder``) has to keep to the first; what it does about the second is up to whoever wrote it.
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
    """Decodes the event in a record, whose shape is configurable.

    An object of JSON whose fields stand at its top is read without what else is in it.

    Parameters
    ----------
    config
        What a value looks like, where the fields stand, the limit on the text, and the closed set of labels if any.
    registry
        Where the schemas are that a value names.
    labelled
        Whether an event has a label; otherwise whatever stands in its place is not looked at.

    Raises
    ------
    ConfigurationError
        If what the shape needs is not installed, or there is no such function as ``events.decoder``.

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
        """Return the event in `record`, or why there is none.

        Raises
        ------
        UnavailableError
            If the registry of its schema does not answer: nothing is known about the record then.
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
        """Return for each field at which of its places something stands in `record`; RefusedError where none can."""
        return self._shaped.where(record)

    def detail(self, record: Record, reason: Reason) -> str:
        """Return the field that a refusal of `record` for `reason` is about; empty where it is about none."""
        if reason in ABOUT:
            return ABOUT[reason]
        if record.value is None or isinstance(record.value, Withheld):
            return ""
        try:
            wire = self._read(record)
        except RefusedError as error:
            return error.detail
        except BrokerError:  # the registry, which has answered before
            return ""
        return "" if reason is not Reason.FIELD_TOO_LONG else "id" if len(str(wire.id)) > NAME_LIMIT else "label"
