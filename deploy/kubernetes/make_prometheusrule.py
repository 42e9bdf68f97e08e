#!/usr/bin/env python3
"""Writes monitoring/prometheusrule.yaml: the rules of deploy/prometheus as the Prometheus operator wants them.

The rule files are the source. After a change to them:

    python deploy/kubernetes/make_prometheusrule.py
"""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
SOURCES = ("recording.yaml", "alerts.yaml")
TARGET = HERE / "monitoring" / "prometheusrule.yaml"
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


def rule(directory: Path = HERE.parent / "prometheus") -> dict[str, Any]:
    """Return the PrometheusRule with the groups of the rule files in `directory`."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "streamlearn", "labels": {"app.kubernetes.io/name": "streamlearn"}},
        "spec": {"groups": [group for name in SOURCES for group in _groups(directory / name)]},
    }


def text(value: dict[str, Any]) -> str:
    """Return `value` as a YAML file."""
    return HEAD + yaml.dump(value, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=110)


def _groups(path: Path) -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    return groups


if __name__ == "__main__":
    TARGET.write_text(text(rule()), encoding="utf-8")
