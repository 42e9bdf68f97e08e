"""Names of headers, which are text, and which Kafka takes and keeps whatever bytes they are."""

from __future__ import annotations


class HeaderName(str):
    """The name of a header that is not UTF-8, with an escape for each byte that is none.

    Attributes
    ----------
    raw
        Its bytes.

    """

    __slots__ = ("raw",)
    raw: bytes


def header_name(raw: bytes) -> str:
    """Return the name that `raw` stands for, a :class:`HeaderName` where it is not UTF-8."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        name = HeaderName(raw.decode(errors="backslashreplace"))
        name.raw = raw
        return name
