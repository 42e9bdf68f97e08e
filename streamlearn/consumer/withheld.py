"""What is handed on in place of a record's value that is not taken into memory, or that cannot be read."""

from __future__ import annotations

from streamlearn.events import Reason


class Withheld(bytes):
    """An empty value that says what it stands for.

    Attributes
    ----------
    reason
        Why the record is refused.
    length
        Bytes of the value that is missing; of the whole batch, where not even its records can be told apart.
    sha256
        The digest of those bytes, in hexadecimal.

    """

    reason: Reason
    length: int
    sha256: str

    @classmethod
    def of(cls, reason: Reason, *, length: int, sha256: str) -> Withheld:
        """Return what stands for a value of `length` bytes."""
        withheld = cls()
        withheld.reason, withheld.length, withheld.sha256 = reason, length, sha256
        return withheld
