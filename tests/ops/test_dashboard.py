"""The dashboard shows the walk, asks only for series that there are, and says what good looks like."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from streamlearn.monitor.metrics import Metrics
from tests.ops.promql import dashboard_queries, exposed_names, metric_names, selectors
from tests.ops.stack import DEPLOY, needs

TEXT = (DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads(TEXT)
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = dict(dashboard_queries(DASHBOARD))
RULES = [
    rule
    for name in ("recording.yaml", "alerts.yaml")
    for group in yaml.safe_load((DEPLOY / "prometheus" / name).read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"] for rule in RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
WALK = ["At a glance", "Stream", "Learning", "Drift", "Publishing", "Health"]
COLUMNS = 24
UNITS = {"s", "percentunit", "ops", "short", "bytes"}


def exposition() -> str:
    return generate_latest(Metrics(CollectorRegistry()).registry).decode()


def named(panel: dict[str, Any]) -> str:
    return f"{panel['id']} {panel['title']}"


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    """Return the cells of the grid that `panel` covers."""
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


def test_it_is_found_by_its_name_and_asks_the_data_source_that_is_chosen() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["title"]) == ("streamlearn", "streamlearn")
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "job", "group"]
    asking = [*PANELS, *DASHBOARD["annotations"]["list"], *DASHBOARD["templating"]["list"][1:]]
    assert all(part["datasource"] == {"type": "prometheus", "uid": "${datasource}"} for part in asking)


def test_the_file_is_indented_and_holds_nothing_of_an_installation() -> None:
    assert TEXT.startswith('{\n  "uid"')
    assert max(map(len, TEXT.splitlines())) < 400
    for noise in ("pluginVersion", "__inputs", "__requires", '"iteration"', '"id": null'):
        assert noise not in TEXT


def test_no_two_panels_have_the_same_id() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_no_two_panels_overlap_and_no_cell_is_empty() -> None:
    for one, other in combinations(DASHBOARD["panels"], 2):
        assert not cells(one) & cells(other), f"{named(one)} and {named(other)}"
    covered = set().union(*map(cells, DASHBOARD["panels"]))
    lines = max(y for _, y in covered) + 1
    assert covered == {(x, y) for x in range(COLUMNS) for y in range(lines)}


def test_the_rows_follow_the_walk_and_each_panel_stands_in_its_row() -> None:
    rows = [panel for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert [row["title"] for row in rows] == WALK
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in DASHBOARD["panels"]]
    assert places == sorted(places)
    assert DASHBOARD["panels"][0] == rows[0]


@pytest.mark.parametrize("panel", PANELS, ids=named)
def test_a_panel_has_a_unit_and_says_what_good_looks_like_and_what_to_open_otherwise(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["targets"]
    assert re.search(r"Good: .+?\. .*Streamlearn\w+\.$", panel["description"])
    runbooks = set(re.findall(r"Streamlearn\w+", panel["description"]))
    assert runbooks
    assert runbooks <= ALERTS


def test_every_alert_is_named_by_the_panel_that_shows_it() -> None:
    assert set(re.findall(r"Streamlearn\w+", " ".join(panel["description"] for panel in PANELS))) == ALERTS


def test_promtool_accepts_every_query(tmp_path: Path) -> None:
    needs("promtool")
    values = {"$job": "streamlearn", "$group": "tickets"}
    rules = []
    for place, promql in QUERIES.items():
        for variable, value in values.items():
            promql = promql.replace(variable, value)  # noqa: PLW2901
        assert "$" not in promql, place
        rules.append({"record": "scratch:" + re.sub(r"\W", "_", place), "expr": promql})
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"SUCCESS: {len(rules)} rules found" in done.stdout


@pytest.mark.parametrize("place", [place for place in QUERIES if not place.startswith("variable")])
def test_every_series_asked_for_is_that_of_the_job_and_group_that_are_chosen(place: str) -> None:
    assert selectors(QUERIES[place])
    for selector in selectors(QUERIES[place]):
        assert selector.matchers["job"] == ("=", "$job")
        assert selector.matchers["group"] == ("=", "$group")


@pytest.mark.parametrize("place", QUERIES)
def test_every_series_asked_for_is_exposed_or_recorded(place: str) -> None:
    assert metric_names(QUERIES[place]) <= exposed_names(exposition()) | RECORDED | {"up", "ALERTS"}


@pytest.mark.parametrize("place", QUERIES)
def test_every_value_of_a_label_that_is_asked_for_is_one_that_is_exposed(place: str) -> None:
    exposed: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(exposition()):
        for sample in family.samples:
            for label, value in sample.labels.items():
                exposed.setdefault((sample.name, label), set()).add(value)
    for name, matchers in selectors(QUERIES[place]):
        for label, (_, value) in matchers.items():
            assert value in exposed.get((name, label), {value}), f"{name} has no {label} of {value}"


@pytest.mark.parametrize(
    ("name", "metric"),
    [("Drift", "streamlearn_drift_detections_total"), ("Publication", "streamlearn_snapshot_version")],
)
def test_drifts_and_publications_are_marked_in_every_panel(name: str, metric: str) -> None:
    (annotation,) = [mark for mark in DASHBOARD["annotations"]["list"] if mark["name"] == name]
    assert annotation["enable"]
    assert metric in metric_names(annotation["expr"])
