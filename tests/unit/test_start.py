from __future__ import annotations

import json

import pytest

from streamlearn.config import load
from streamlearn.config.start import parse
from streamlearn.errors import ConfigurationError


def test_a_beginning_is_an_end_a_time_or_offsets() -> None:
    assert parse("earliest").kind == "earliest"
    assert parse("latest").kind == "latest"
    assert parse("timestamp:2026-11-26T09:30:00Z").timestamp == parse("timestamp:1795685400").timestamp == 1795685400000
    assert parse("timestamp:2026-11-26T10:30:00+01:00").timestamp == 1795685400000
    assert parse("offsets:0=1200, 3=0").offsets == {0: 1200, 3: 0}


@pytest.mark.parametrize(
    ("spelled", "said"),
    [
        ("first", "must be earliest, latest"),
        ("earliest:", "must be earliest, latest"),
        ("timestamp:", "no time behind"),
        ("timestamp:yesterday", "no time behind"),
        ("timestamp:2026-11-26T09:30:00", "names no zone"),
        ("timestamp:1795685400000", "must be earliest, latest"),
        ("timestamp:999999999999", "not between 1970 and 2100"),
        ("offsets:", "no PARTITION=OFFSET"),
        ("offsets:0=-1", "no PARTITION=OFFSET"),
        ("offsets:0=9999999999999999999", "no PARTITION=OFFSET"),
        ("offsets:1=2,1=3", "names partition 1 twice"),
    ],
)
def test_anything_else_is_told_by_the_name_of_the_setting(spelled: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"kafka\.start: ") as raised:
        load(overrides=[f"kafka.start={json.dumps(spelled)}"])
    assert said in str(raised.value)
