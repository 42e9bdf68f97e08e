"""The map between labels and the columns of the classifier's head."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from streamlearn.errors import StateError
from streamlearn.events import Label


class LabelMap:
    """Labels in the order of their columns; a label keeps its column for good.

    A label's identity is its value, and its name in a published model is ``str`` of it. The labels of a stream are of
    one type, so names are unique. A model that was already trained provides only names: if the first label of the
    stream is an integer, names that spell integers stand for those integers.

    Examples
    --------
    >>> labels = LabelMap(["ham", "spam"])
    >>> labels.index("spam"), labels.add("phish"), list(labels)
    (1, True, ['ham', 'spam', 'phish'])
    >>> of_a_model = LabelMap(["0", "1"])
    >>> of_a_model.add(1), list(of_a_model)
    (False, [0, 1])

    """

    def __init__(self, labels: Iterable[Label] = ()) -> None:
        self._columns: dict[Label, int] = {}
        for label in labels:
            self.add(label)

    @classmethod
    def of(cls, names: Iterable[str], closed: Iterable[Label]) -> LabelMap:
        """Return the labels whose columns have these `names`, typed as those of a `closed` list are."""
        by_name: dict[str, Label] = {str(label): label for label in closed}
        return cls(by_name.get(name, name) for name in names)

    def __len__(self) -> int:
        return len(self._columns)

    def __iter__(self) -> Iterator[Label]:
        return iter(self._columns)

    def __contains__(self, label: Label) -> bool:
        return label in self._columns

    def add(self, label: Label) -> bool:
        """Add a column for `label` unless it has one, and return whether it is new."""
        if isinstance(label, int) and label not in self._columns:
            self._columns = {_typed(known): column for known, column in self._columns.items()}
        if label in self._columns:
            return False
        self._columns[label] = len(self._columns)
        return True

    def index(self, label: Label) -> int:
        """Return the column of `label`; KeyError if it has none."""
        return self._columns[label]

    def names(self) -> list[str]:
        """Return the names of the columns in a published model."""
        return [str(label) for label in self]


def _typed(label: Label) -> Label:
    """Return the integer that `label` spells, or `label` itself."""
    try:
        number = int(label)
    except ValueError:
        return label
    return number if str(number) == label else label


def saved_labels(saved: Sequence[Label], mine: LabelMap, *, discovers: bool) -> LabelMap:
    """Return the labels of a checkpoint, if a learner configured with the labels `mine` can continue with them.

    Raises
    ------
    StateError
        If they are in another order, or two of them have the same name.

    """
    found = LabelMap(saved)
    if len(set(found.names())) != len(saved):
        raise StateError(
            "the checkpoint has two columns for one label, the number and its name, of which none can be "
            f"published ({', '.join(map(repr, saved))}); start over with another publisher.directory"
        )
    own, theirs = (mine.names(), found.names()) if discovers else (list(mine), list(found))
    both = min(len(own), len(theirs))
    if own[:both] != theirs[:both]:
        raise StateError(
            f"the checkpoint has the labels {saved} and the configuration {list(mine)}; "
            "labels may be added at the end, not changed"
        )
    return found
