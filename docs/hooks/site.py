"""What mkdocs is told beside the pages in this directory: pages that stand elsewhere in the repository, or nowhere.

Guarantees, runbooks and the changelog are read from where they lie, with their links made to fit; the reference is made
of the code when the site is built. So nothing is written twice.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from posixpath import dirname, join, normpath, relpath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from reference import commands_page, configuration_page, metrics_page  # noqa: E402 - it lies beside this file

ELSEWHERE = "operation"
PAGES = (
    "CHANGELOG.md",
    "deploy/README.md",
    "deploy/GUARANTEES.md",
    "deploy/kubernetes/README.md",
    "deploy/runbooks/*.md",
)
"""Pages of the repository that are pages of the site."""
FILES = (
    "benchmarks/results/*.json",
    "benchmarks/results/*.png",
    "deploy/**/*.yaml",
    "deploy/**/*.json",
    "deploy/**/Dockerfile",
)
"""Files to which pages may link."""
MADE = {
    "reference/configuration.md": configuration_page,
    "reference/commands.md": commands_page,
    "reference/metrics.md": metrics_page,
}
LINK = re.compile(r"(?P<before>!?\[(?:[^]\[]|\[[^]]*\])*\])\((?P<target>[^)\s]+)\)")
OUTSIDE = re.compile(r"[a-z]+:|#")
CODE = re.compile(r"(^```.*?^```$|^ +```.*?^ +```$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Write the runbooks out in the navigation, the overview first."""
    names = sorted((ROOT / "deploy/runbooks").glob("*.md"), key=lambda path: (path.stem != "README", path.stem))
    _replace(config.nav, [f"{ELSEWHERE}/deploy/runbooks/{path.name}" for path in names])
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what stands elsewhere, and what is made."""
    for pattern in (*PAGES, *FILES):
        for path in sorted(ROOT.glob(pattern)):
            files.append(File.generated(config, _place(path), abs_src_path=str(path)))
    for name, make in MADE.items():
        files.append(File.generated(config, name, content=make()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Make the links of a page lead to where what they name lies in the site; one to what is not in it is no link."""
    del config
    source = page.file.src_uri
    inside = source.removeprefix(f"{ELSEWHERE}/") if source.startswith(f"{ELSEWHERE}/") else f"docs/{source}"

    def led(match: re.Match[str]) -> str:
        target, _, anchor = match["target"].partition("#")
        if OUTSIDE.match(match["target"]):
            return match[0]
        wanted = normpath(join(dirname(inside), target))
        place = wanted.removeprefix("docs/") if wanted.startswith("docs/") else f"{ELSEWHERE}/{wanted}"
        if files.get_file_from_path(place):
            return f"{match['before']}({relpath(place, dirname(source) or '.')}{'#' * bool(anchor)}{anchor})"
        if (ROOT / wanted).exists() and not wanted.startswith("docs/"):
            return match["before"][1:-1]
        return match[0]  # which mkdocs finds broken

    parts = CODE.split(markdown)
    return "".join(part if index % 2 else LINK.sub(led, part) for index, part in enumerate(parts))


def _place(path: Path) -> str:
    return f"{ELSEWHERE}/{path.relative_to(ROOT).as_posix()}"


def _replace(nav: Any, runbooks: list[str]) -> None:
    for entry in nav if isinstance(nav, list) else []:
        for title, inner in entry.items() if isinstance(entry, dict) else ():
            if title == "Runbooks":
                entry[title] = runbooks
            else:
                _replace(inner, runbooks)
