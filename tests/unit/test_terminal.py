"""What people read on a terminal, and programs read as JSON: nothing in it moves a cursor or forges a line."""

from __future__ import annotations

import json
import logging
import os
import pty
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamlearn import masking
from streamlearn.masking import hide, is_secret, masked
from streamlearn.monitor.logs import AboveTheStatus
from streamlearn.terminal import STATUS, as_json, escaped, say, say_texts

JOINERS = "\u200c\u200d"
ANY = st.text(st.characters())  # with surrogates


def moves_or_hides(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and character not in JOINERS


def test_what_is_not_seen_or_breaks_a_line_is_written_out() -> None:
    assert escaped("ham\x1b[2J\r\nspam\t\x9b\u202e\u2028\ud800") == r"ham\x1b[2J\r\nspam\t\x9b\u202e\u2028\ud800"
    assert escaped("häm 猫 👩\u200d🚀") == "häm 猫 👩\u200d🚀"
    assert all(escaped(chr(code)) != chr(code) for code in range(0x110000) if moves_or_hides(chr(code)))


@given(ANY)
def test_any_text_stays_within_its_line_and_can_be_written(text: str) -> None:
    shown = escaped(text)
    assert not any(map(moves_or_hides, shown))
    assert len(shown.splitlines()) <= 1
    shown.encode()


@given(st.dictionaries(ANY, ANY, max_size=3))
def test_json_says_the_same_in_characters_that_are_seen(value: dict[str, str]) -> None:
    written = as_json(value)
    assert not any(map(moves_or_hides, written))
    assert json.loads(written) == value
    written.encode()


def test_what_is_said_is_one_line_without_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    say("cannot reach user:hunter2@h:1\nstreamlearn: all is well\x1b[1A", error=True)
    say_texts("spam\tham", "0.900", "a\nspam\t1.000\tforged")
    out, err = capsys.readouterr()
    assert err == "cannot reach ***@h:1\\nstreamlearn: all is well\\x1b[1A\n"
    assert out == "spam\\tham\t0.900\ta\\nspam\\t1.000\\tforged\n"


SECRET_NAMES = """
password sasl_plain_password token hf_token accessToken api-key AWS_SECRET sasl_jaas_config passphrase auth
"""


@pytest.mark.parametrize("key", [*SECRET_NAMES.split(), "monitor.basic_auth.password"])
def test_names_of_secrets(key: str) -> None:
    assert is_secret(key)


@pytest.mark.parametrize(
    "key", ["max_tokens", "pad_token_id", "topic", "tokenizer_class", "monitor.basic_auth.username"]
)
def test_names_of_what_is_none(key: str) -> None:
    assert not is_secret(key)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no broker at user:pw@127.0.0.1:1 within 2 s", "no broker at ***@127.0.0.1:1 within 2 s"),
        ("a:b@h:1,c:d/e@i:2", "***@h:1,***@i:2"),
        ("https://hf_abc@h/x?token=abc&n=1", "https://***@h/x?token=***&n=***"),
        ("mail me@example.org at 12:30", "mail me@example.org at 12:30"),
    ],
)
def test_the_user_of_an_address_is_masked_in_any_line(text: str, shown: str) -> None:
    assert masked(text) == shown


def test_a_secret_that_was_read_is_masked_wherever_it_turns_up() -> None:
    masking._hidden.clear()
    hide({"kafka": {"client": {"sasl_plain_password": 'p"4ss\\w'}}, "x": "socks5://u:tr,icky@h:1"})
    try:
        assert masked('refused: p"4ss\\w') == "refused: ***"
        assert masked(json.dumps({"error": 'p"4ss\\w'})) == '{"error": "***"}'
        assert "icky" not in masked("proxy u:tr,icky is gone")
    finally:
        masking._hidden.clear()


@contextmanager
def hung_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[TextIO]:
    """Yield standard error on a terminal that has gone away after it showed the status line."""
    ours, theirs = pty.openpty()
    terminal = os.fdopen(theirs, "w")
    monkeypatch.setattr("sys.stderr", terminal)
    STATUS.begin()
    assert STATUS.on
    STATUS.show("412 events/s")
    assert b"412 events/s" in os.read(ours, 1000)
    os.close(ours)
    try:
        yield terminal
    finally:
        STATUS.end()
        monkeypatch.undo()
        with suppress(OSError):
            terminal.close()


def logs_a_line() -> None:
    handler = AboveTheStatus()
    handler.handle(logging.LogRecord("streamlearn", logging.INFO, __file__, 1, "resumed", (), None))


@pytest.mark.parametrize("use", [lambda: STATUS.show("more"), logs_a_line, STATUS.end])
def test_a_terminal_that_goes_away_ends_the_status_line_and_raises_nothing(
    monkeypatch: pytest.MonkeyPatch, use: Callable[[], None]
) -> None:
    with hung_up(monkeypatch) as terminal:
        with pytest.raises(OSError, match="Input/output error"):
            print("lost", file=terminal, flush=True)
        use()
        assert not STATUS.on
        logs_a_line()


def test_a_standard_error_that_is_closed_is_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    with hung_up(monkeypatch) as terminal:
        with suppress(OSError):
            terminal.close()
        STATUS.show("more")
        assert not STATUS.on
        STATUS.begin()
        assert not STATUS.on


def test_what_is_raised_while_the_status_line_is_away_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    with hung_up(monkeypatch), pytest.raises(OSError, match="of the body"), STATUS.away():
        raise OSError("of the body")
