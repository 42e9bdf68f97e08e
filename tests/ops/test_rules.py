"""The rules are valid, each alert is tried where it must fire and where it must not, and leads to its runbook."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest

from streamlearn.monitor.metrics import Metrics
from tests.ops.promql import exposed_names, names_in, with_histograms
from tests.ops.stack import DEPLOY, needs

PROMETHEUS = DEPLOY / "prometheus"
RULES = [PROMETHEUS / "recording.yaml", PROMETHEUS / "alerts.yaml"]
GROUPS = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for g in GROUPS for rule in g["rules"] if "alert" in rule}
RECORDED = {rule["record"] for g in GROUPS for rule in g["rules"] if "record" in rule}
CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
RUNBOOKS = sorted(path for path in (DEPLOY / "runbooks").glob("*.md") if path.name != "README.md")
SECTIONS = ["Meaning", "Impact", "Diagnosis", "Mitigation"]
PROMETHEUS_OWN = {"up", "ALERTS"}  # what Prometheus writes itself


def checked(*command: str | Path) -> None:
    """Run `command`, and fail with what it says where it fails."""
    needs(str(command[0]))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def exposed() -> set[str]:
    return exposed_names(generate_latest(Metrics(CollectorRegistry()).registry).decode())


def test_prometheus_accepts_its_configuration_with_both_rule_files() -> None:
    checked("promtool", "check", "config", PROMETHEUS / "prometheus.yaml")
    assert yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())["rule_files"] == [path.name for path in RULES]


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_prometheus_accepts_the_rules_and_finds_no_duplicate(path: Path) -> None:
    checked("promtool", "check", "rules", "--lint=all", "--lint-fatal", path)


def test_alertmanager_accepts_its_configuration() -> None:
    checked("amtool", "check-config", DEPLOY / "alertmanager" / "alertmanager.yaml")


def test_alertmanager_inhibits_only_alerts_that_there_are() -> None:
    inhibitions = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yaml").read_text())["inhibit_rules"]
    for rule in inhibitions:
        for matcher in [*rule["source_matchers"], *rule["target_matchers"]]:
            prefix, names = re.findall(r'"(\w+?)(?:\((.*)\))?"', matcher)[0]
            assert {prefix + name for name in names.split("|")} <= ALERTS.keys(), matcher


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_rules_say_what_their_cases_say(path: Path) -> None:
    checked("promtool", "test", "rules", path)


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_cases_evaluate_both_rule_files_in_the_order_of_their_groups(path: Path) -> None:
    cases = yaml.safe_load(path.read_text())
    assert [(path.parent / name).resolve() for name in cases["rule_files"]] == RULES
    assert cases["group_eval_order"] == [group["name"] for group in GROUPS]


def test_every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    assert {path.stem for path in CASES} == {*ALERTS, "recording"}
    for path in CASES:
        if path.stem == "recording":
            continue
        fires, silent = set(), set()
        for case in yaml.safe_load(path.read_text())["tests"]:
            outcomes = {bool(at["exp_alerts"]) for at in case["alert_rule_test"]}
            assert {at["alertname"] for at in case["alert_rule_test"]} == {path.stem}
            (fires if True in outcomes else silent).add(case["name"])
        assert fires, path.name
        assert silent, path.name


def test_every_recorded_series_has_a_case() -> None:
    cases = next(path for path in CASES if path.stem == "recording").read_text()
    assert {name for name in RECORDED if f"expr: {name}" in cases or f"({name}" in cases} == RECORDED


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert re.fullmatch(r"Streamlearn([A-Z][a-z]+)+", name)
    assert re.fullmatch(r"[1-9]\d*m", alert["for"])
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert "{{ $labels.group }}" in annotations["summary"]
    assert re.search(r"\{\{\s*\$value\b", annotations["description"])
    assert annotations["runbook_url"] == f"{{{{ $externalLabels.runbooks }}}}/{name}.md"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS} == ALERTS.keys()


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_has_the_name_of_its_alert_and_the_four_sections(path: Path) -> None:
    lines = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL).splitlines()
    assert lines[0] == f"# {path.stem}"
    assert [line.removeprefix("## ") for line in lines if line.startswith("## ")] == SECTIONS
    assert len([line for line in lines if line.startswith("# ")]) == 1


def test_the_list_of_runbooks_links_each_of_them() -> None:
    linked = set(re.findall(r"\]\((?:\./)?(Streamlearn\w+)\.md\)", (DEPLOY / "runbooks" / "README.md").read_text()))
    assert linked == ALERTS.keys()


@pytest.mark.parametrize("path", [*RULES, *sorted((DEPLOY / "runbooks").glob("*.md"))], ids=lambda path: path.stem)
def test_every_metric_that_is_named_is_exposed_or_recorded(path: Path) -> None:
    known = exposed() | RECORDED | PROMETHEUS_OWN
    assert names_in(path) <= (with_histograms(known) if path.suffix == ".md" else known)
