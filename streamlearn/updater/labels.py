"""The map between labels and the columns of the classifier's head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from streamlearn.events import Label


class LabelMap:
    """Labels in the order of their columns; a label keeps its column for ever.

    Examples
    --------
    >>> labels = LabelMap(["ham", "spam"])
    >>> labels.index("spam"), labels.add("phish"), list(labels)
    (1, 2, ['ham', 'spam', 'phish'])

    """

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self._columns: dict[Label, int] = {}
        for label in labels:
            self.add(label)

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._columns)

    def __contains__(self, label: Label) -> bool:
        return label in self._columns

    def add(self, label: Label) -> int:
        """Return the column of `label`, the next free one if it is new."""
        return self._columns.setdefault(label, len(self._columns))

    def index(self, label: Label) -> int:
        """Return the column of `label`; KeyError if it has none."""
        return self._columns[label]
