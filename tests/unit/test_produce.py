from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from streamlearn.commands import produce
from streamlearn.config import Kafka


def test_lines_are_sent_at_the_rate_byte_for_byte_and_blank_ones_are_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, sent = [0.0], list[tuple[float, bytes]]()

    def send(_: Kafka, values: Iterable[bytes], *, progress: Callable[[int], None]) -> int:
        del progress
        sent.extend((now[0], value) for value in values)
        return len(sent)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(produce, "send", send)
    lines = [b'{"text": 1} \r\n', b" \n", b"no event\n", b"\xff"]
    assert produce.produce(Kafka(), lines, rate=4.0, clock=lambda: now[0], sleep=sleep) == 3
    assert sent == [(0.0, b'{"text": 1} '), (0.25, b"no event"), (0.5, b"\xff")]
