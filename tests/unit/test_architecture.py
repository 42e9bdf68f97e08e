"""The floor plan of the package: what stands where, and who may know whom."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import streamlearn

PACKAGE = Path(streamlearn.__file__).parent
README = (Path(__file__).parents[2] / "README.md").read_text()
PICTURE = README.partition("```\nstreamlearn/\n")[2].partition("```")[0]

FLOORS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("local",),
    ("commands", "online"),
    ("pipeline",),
    ("terms",),
    ("parts", "takeover"),
    ("capture", "recovery"),
    ("learner", "consumer", "checkpointing", "publisher", "monitor", "serving"),
    ("buffer", "updater"),
)
"""The rooms, from the top; a room imports from the floors below its own and from the ground."""

GROUND = frozenset(
    {
        *(
            "__init__",
            "config",
            "control",
            "decisions",
            "errors",
            "events",
            "masking",
            "patience",
            "records",
            "reports",
            "source",
        ),
        *("state", "storage", "terminal", "unforeseen"),
    }
)
"""What everybody may name."""

ABOVE_THE_LEARNER = frozenset(
    {"capture", "recovery", "takeover", "parts", "terms", "pipeline", "commands", "online", "local"}
)
KNOWN_TO: Mapping[str, frozenset[str]] = {
    "__main__": frozenset(),
    "local": frozenset({"cli"}),
    "learner": ABOVE_THE_LEARNER,
    "consumer": ABOVE_THE_LEARNER,
    "checkpointing": ABOVE_THE_LEARNER,
    "publisher": ABOVE_THE_LEARNER,
    "monitor": frozenset({"parts", "commands"}),
    "serving": frozenset({"commands"}),
    "buffer": frozenset({"learner"}),
    "updater": frozenset({"learner", "serving"}),
}
"""Rooms that fewer know than stand above them."""

OFFERED: Mapping[str, frozenset[str]] = {
    "consumer": frozenset(
        {
            *("streamlearn.consumer", "streamlearn.consumer.dead_letter_topic", "streamlearn.consumer.decode"),
            *("streamlearn.consumer.letters", "streamlearn.consumer.redrive"),
            *("streamlearn.consumer.sampled", "streamlearn.consumer.seeking", "streamlearn.consumer.sending"),
        }
    ),
}
"""Rooms of which others name these modules alone, but for `local`."""

LIBRARY = frozenset({"online", "serving", "updater"})
"""What the package itself hands out from, once it is asked for."""

ALONE: Mapping[str, frozenset[str]] = {
    "confluent_kafka": frozenset({"consumer"}),
    "fastavro": frozenset({"consumer"}),
    "kafka": frozenset({"consumer", "local", "config"}),
    "prometheus_client": frozenset({"monitor"}),
    "typer": frozenset({"cli", "terminal"}),
}
"""Libraries that only these rooms name."""

PURE = frozenset({"learner", "buffer", "updater", "decisions", "reports"})
"""What decides θ, a function of the state and the decisions: it asks no clock and touches no file."""
IMPURE = {"time", "datetime", "os", "pathlib", "io", "shutil", "tempfile", "socket", "subprocess", "threading"}
LOADS_A_MODEL = frozenset(
    f"updater/experts/transformer/{name}.py" for name in ("model", "model_files", "tokenizer", "published")
)
"""The files of the pure rooms that read what a model is made of."""

LONGEST = 350  # lines
LONGEST_PIPELINE = 199


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def file_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def name_of(path: Path) -> str:
    """Return the dotted name of the module in `path`."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in modules()}


def imported(path: Path) -> Iterator[str]:
    """Yield the dotted names of the modules that `path` imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: an import names its module in full"
            for name in (f"{node.module}.{alias.name}" for alias in node.names):
                yield name if name in MODULES else str(node.module)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_of(module: str) -> str:
    """Return the room, or the file at the top of the package, that holds `module`."""
    return module.partition(".")[2].split(".")[0] or "__init__"


def floor_of(room: str) -> int:
    """Return how high `room` stands; the ground is 0."""
    if room in GROUND:
        return 0
    for height, rooms in enumerate(reversed(FLOORS), 1):
        if room in rooms:
            return height
    raise AssertionError(
        f"streamlearn/{room} has no place in the plan: give it one in tests/unit/test_architecture.py and in README"
    )


def objection(file: str, module: str) -> str | None:
    """Return what the plan has against an import of `module` in `file`, or None."""
    room, package = file.partition("/")[0].removesuffix(".py"), module.partition(".")[0]
    if package == "streamlearn":
        other = room_of(module)
        if room not in {other, "local"} and module not in OFFERED.get(other, {module}):
            return f"{other} does not offer {module}"
        return _objection_to_room(room, other)
    if room not in ALONE.get(package, {room}):
        return f"{package} is known to {', '.join(sorted(ALONE[package]))} alone"
    if package in IMPURE and room in PURE and not (file in LOADS_A_MODEL and package in {"os", "pathlib"}):
        return f"{room} decides θ, and {package} may answer otherwise the next time"
    return None


def _objection_to_room(room: str, other: str) -> str | None:
    if other == room or (room in GROUND and other in GROUND) or (room == "__init__" and other in LIBRARY):
        return None
    if floor_of(other) >= floor_of(room):
        return f"{room} stands no higher than {other}"
    if room not in KNOWN_TO.get(other, {room}):
        return f"{other} is known to {', '.join(sorted(KNOWN_TO[other]))} alone"
    return None


def circle(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """Return modules that import one another in a circle, or nothing where none do."""
    try:
        TopologicalSorter({module: set(others) - {module} for module, others in imports.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@pytest.mark.parametrize("path", modules(), ids=file_of)
def test_each_module_has_a_place_and_imports_only_what_the_plan_lets_it_know(path: Path) -> None:
    file = file_of(path)
    floor_of(room_of(name_of(path)))
    found = {module: said for module in imported(path) if (said := objection(file, module))}
    assert found == {}


@pytest.mark.parametrize(
    ("file", "module", "said"),
    [
        ("buffer/base.py", "streamlearn.consumer", "buffer stands no higher than consumer"),
        ("publisher/publisher.py", "streamlearn.checkpointing.fence", "publisher stands no higher than checkpointing"),
        ("config/bounds.py", "streamlearn.buffer", "config stands no higher than buffer"),
        ("commands/check.py", "streamlearn.local.broker", "commands stands no higher than local"),
        ("pipeline.py", "streamlearn.consumer.client", "consumer does not offer streamlearn.consumer.client"),
        ("pipeline.py", "streamlearn.buffer", "buffer is known to learner alone"),
        ("cli/app.py", "streamlearn.publisher.snapshots", "publisher is known to capture, commands"),
        ("pipeline.py", "kafka.errors", "kafka is known to config, consumer, local alone"),
        ("learner/intake.py", "time", "learner decides θ"),
        ("updater/updater.py", "pathlib", "updater decides θ"),
    ],
)
def test_the_plan_objects_to_what_is_not_in_it(file: str, module: str, said: str) -> None:
    assert str(objection(file, module)).startswith(said)


def test_a_module_without_a_place_in_the_plan_is_named_with_what_to_do() -> None:
    with pytest.raises(AssertionError, match="streamlearn/attic has no place in the plan: give it one in"):
        floor_of("attic")


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert circle({"a": ["b"], "b": ["c"], "c": ["a"]})
    assert circle({name: set(imported(path)) & set(MODULES) for name, path in MODULES.items()}) == []


def test_what_decides_theta_is_loaded_without_a_client_of_kafka_or_of_metrics() -> None:
    code = "import sys, streamlearn.learner, streamlearn.source; print(*{m.split('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "streamlearn" in done.stdout.split()
    assert not {"kafka", "prometheus_client"} & set(done.stdout.split())


@pytest.mark.parametrize("path", modules(), ids=file_of)
def test_only_the_command_line_and_the_demo_print_and_files_are_opened_where_they_may_be(path: Path) -> None:
    room = room_of(name_of(path))
    calls = (node.func for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    called = {function.id for function in calls if isinstance(function, ast.Name)}
    if room not in {"cli", "local", "terminal"}:
        assert not called & {"print", "say", "say_json", "say_texts"}
    if room in PURE and file_of(path) not in LOADS_A_MODEL:
        assert "open" not in called


@pytest.mark.parametrize("path", modules(), ids=file_of)
def test_a_file_says_its_subject_first_and_keeps_to_it(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert len(path.read_text().splitlines()) <= (LONGEST_PIPELINE if path == PACKAGE / "pipeline.py" else LONGEST)


def test_the_picture_in_the_readme_is_the_tree_and_has_its_floors_in_their_order() -> None:
    drawn = [name for line in PICTURE.splitlines() for name in re.split(r"\s{2,}", line.strip())[0].split()]
    there = [path.name + "/" * path.is_dir() for path in PACKAGE.iterdir() if path.suffix in {"", ".py"}]
    assert sorted(drawn) == sorted(name for name in there if not name.startswith("_"))
    heights = [floor_of(name.rstrip("/").removesuffix(".py")) for name in drawn]
    assert heights == sorted(heights, reverse=True)


def test_the_picture_names_the_rooms_within_rooms() -> None:
    inner = {path.parent.name for path in PACKAGE.rglob("*/*/__init__.py")}
    assert inner - {name.rstrip("/") for name in re.findall(r"\w+/", PICTURE)} == set()


def test_the_plan_has_no_place_for_what_is_not_there() -> None:
    planned = {*GROUND, *(room for floor in FLOORS for room in floor)}
    assert planned == {room_of(module) for module in MODULES}


def test_the_ways_through_the_code_lead_past_files_that_are_there_and_no_more_than_five_each() -> None:
    ways = re.split(r"\n\nOne \w+, ", str(streamlearn.__doc__))[1:]
    assert len(ways) == 4
    for way in ways:
        files = re.findall(r"``([\w/]+\.py)``", way.partition("\n\n")[2].partition("\n\n")[0])
        assert 1 < len(files) <= 5
        assert [file for file in files if not (PACKAGE / file).is_file()] == []
