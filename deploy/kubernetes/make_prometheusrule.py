#!/usr/bin/env python3
"""Writes rules/prometheusrule.yaml: the rules of deploy/prometheus as the Prometheus operator wants them.

The rule files are the source. After a change to them:

    python deploy/kubernetes/make_prometheusrule.py

Takes where the runbooks are read, which each `runbook_url` then begins with. Without it that stays an external label of
Prometheus, which a cluster's Prometheus would put on every alert and on every series that it sends elsewhere.
"""

import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SOURCES = ("recording.yaml", "alerts.yaml")
TARGET = HERE / "rules" / "prometheusrule.yaml"
RUNBOOKS = "{{ $externalLabels.runbooks }}"
LONG = 100  # characters
HEAD = """\
# Made by deploy/kubernetes/make_prometheusrule.py out of deploy/prometheus/{recording,alerts}.yaml: change those.
"""


class Dumper(yaml.SafeDumper):
    """Writes text of several lines, and long text, as blocks, as the rule files have it."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else ">" if len(text) > LONG else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


Dumper.add_representer(str, _text)


def rule(directory: Path = HERE.parent / "prometheus", *, runbooks: str = RUNBOOKS) -> dict[str, Any]:
    """Return the PrometheusRule with the groups of the files in `directory`, whose links begin with `runbooks`."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "streamlearn", "labels": {"app.kubernetes.io/name": "streamlearn"}},
        "spec": {"groups": [group for name in SOURCES for group in _groups(directory / name, runbooks)]},
    }


def text(value: dict[str, Any]) -> str:
    """Return `value` as a YAML file."""
    return HEAD + yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)


def _groups(path: Path, runbooks: str) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for annotations in (entry["annotations"] for group in groups for entry in group["rules"] if "alert" in entry):
        annotations["runbook_url"] = annotations["runbook_url"].replace(RUNBOOKS, runbooks.rstrip("/"))
    return groups


if __name__ == "__main__":
    TARGET.write_text(text(rule(runbooks=sys.argv[1] if len(sys.argv) > 1 else RUNBOOKS)), encoding="utf-8")
