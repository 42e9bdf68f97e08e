"""Which series PromQL reads, and which a scrape shows; whether PromQL is valid is promtool's to say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from prometheus_client.parser import text_string_to_metric_families

TOKEN = re.compile(
    r"""
    (?P<string> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` )
    | (?P<comment> \#[^\n]* )
    | (?P<variable> \$\{?\w+\}? )            # of a dashboard: $job, ${datasource}
    | (?P<number> (?<![\w:]) [0-9.] [\w.]* ) # 0.5, 1e3, 0x1f and durations
    | (?P<name> [A-Za-z_:][\w:]* )
    | (?P<operator> =~ | !~ | != | == | >= | <= | \S )
    """,
    re.VERBOSE,
)
GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
AGGREGATIONS = {"sum", "min", "max", "avg", "group", "stddev", "stdvar", "count", "count_values"}
AGGREGATIONS |= {"bottomk", "topk", "quantile", "limitk", "limit_ratio"}
WORDS = {"and", "or", "unless", "atan2", "offset", "bool", "inf", "nan", "start", "end"} | GROUPING | AGGREGATIONS
PARTS = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "summary": ["_sum", "_count"]}
MENTION = re.compile(
    r"(?<![\w:/.-])(?:[a-z_]+:)?(?:streamlearn|process)_[a-z0-9_]*[a-z0-9](?::[a-z0-9_]+)?(?![\w:/(*-])"
)
VARIABLE = re.compile(r"label_values\((?P<promql>.*), *\w+\)")


class Selector(NamedTuple):
    """A series that is read: its name, and its matchers as operator and value by label."""

    name: str
    matchers: dict[str, tuple[str, str]]


def selectors(promql: str) -> list[Selector]:
    """Return every selector of `promql` in its order; one without a name is called by its ``__name__``, or not at all.

    >>> selectors('sum by (job) (rate(steps_total{job="a"}[5m])) / count(up)')
    [Selector(name='steps_total', matchers={'job': ('=', 'a')}), Selector(name='up', matchers={})]
    """
    tokens = [(m.lastgroup or "", m.group()) for m in TOKEN.finditer(promql) if m.lastgroup != "comment"]
    found: list[Selector] = []
    index = 0
    while index < len(tokens):
        kind, text = tokens[index]
        index += 1
        follows = tokens[index][1] if index < len(tokens) else ""
        if text == "[":
            index = _behind(tokens, index, "]")
        elif text == "{":
            end = _behind(tokens, index, "}")
            matchers = _matchers(tokens[index : end - 1])
            found.append(Selector(matchers.pop("__name__", ("=", ""))[1], matchers))
            index = end
        elif kind != "name":
            continue
        elif text.lower() in GROUPING and follows == "(":
            index = _behind(tokens, index, ")")
        elif text.lower() in WORDS or follows == "(":
            continue
        elif follows == "{":
            end = _behind(tokens, index, "}")
            found.append(Selector(text, _matchers(tokens[index + 1 : end - 1])))
            index = end
        else:
            found.append(Selector(text, {}))
    return found


def metric_names(promql: str) -> set[str]:
    """Return the names of the series that `promql` reads.

    >>> sorted(metric_names("a:b:rate5m > 0 and on (job) max_over_time(up[1m] offset 5m) == 1  # c"))
    ['a:b:rate5m', 'up']
    """
    return {selector.name for selector in selectors(promql) if selector.name}


def exposed_names(exposition: str) -> set[str]:
    """Return the names of the series in the text of a scrape, also of those that have no label values yet."""
    names: set[str] = set()
    for family in text_string_to_metric_families(exposition):
        names |= {sample.name for sample in family.samples}
        names |= {family.name + part for part in PARTS.get(family.type, [""])}
    return names


def with_histograms(names: set[str]) -> set[str]:
    """Return `names`, and the names of histograms as a whole, as prose has them."""
    return names | {name.removesuffix("_bucket") for name in names}


def dashboard_queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield where each query of a dashboard stands, and its PromQL: of panels, annotations and variables."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['id']}{target['refId']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']}", annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        if match := VARIABLE.fullmatch(str(variable.get("query", ""))):
            yield f"variable {variable['name']}", match["promql"]


def names_in(path: Path) -> set[str]:
    """Return the names of the series that a rule file, a dashboard or a page reads or mentions."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return set().union(*(metric_names(promql) for _, promql in dashboard_queries(json.loads(text))))
    if path.suffix == ".yaml":
        groups = yaml.safe_load(text).get("groups", [])
        return set().union(*(metric_names(rule["expr"]) for group in groups for rule in group["rules"]))
    return set(MENTION.findall(text))


def _behind(tokens: list[tuple[str, str]], index: int, closing: str) -> int:
    """Return the index behind the next `closing`, or the end where there is none."""
    while index < len(tokens) and tokens[index][1] != closing:
        index += 1
    return index + 1


def _matchers(tokens: list[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    parts = [text for _, text in tokens if text != ","]
    return {parts[at]: (parts[at + 1], parts[at + 2][1:-1]) for at in range(0, len(parts) - 2, 3)}
