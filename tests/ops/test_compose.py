"""The compose file, held against the image, the code and the real tools."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import yaml

from streamlearn.config import Config, load
from tests.ops.manifests import COMPOSE, DEPLOY, Tree, environment_of_image, mounts, read, run, script, services


def test_docker_compose_accepts_the_file() -> None:
    commands = [[path] for path in [shutil.which("docker-compose")] if path]
    if (docker := shutil.which("docker")) and run(docker, "compose", "version").returncode == 0:
        commands.append([docker, "compose"])
    if not commands:
        pytest.skip("there is no docker-compose and no docker compose on the PATH")
    for command in commands:
        done = run(*command, "-f", COMPOSE, "config")
        assert done.returncode == 0, done.stderr
        assert set(read_text(done.stdout)["services"]) == set(services())


def read_text(text: str) -> Tree:
    tree: Tree = yaml.safe_load(text)
    return tree


@pytest.mark.parametrize("name", sorted(services()))
def test_what_a_service_mounts_is_there(name: str) -> None:
    for source, *_ in mounts(services()[name]):
        if source.startswith("."):
            assert (DEPLOY / source).exists(), source
        else:
            assert source in read(COMPOSE)["volumes"]


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_waits_until_what_it_needs_is_healthy_or_done(name: str) -> None:
    for other, condition in services()[name].get("depends_on", {}).items():
        needed = services()[other]
        if condition["condition"] == "service_healthy":
            assert needed["healthcheck"]["test"][0] == "CMD"
        else:
            assert condition["condition"] == "service_completed_successfully"
            assert needed["restart"] == "no"


@pytest.mark.parametrize("name", sorted(services()))
def test_a_service_has_a_fixed_version_few_rights_and_no_port_to_the_outside(name: str) -> None:
    service = services()[name]
    assert re.fullmatch(r"[\w/]+:(v?\d+\.\d+\.\d+|compose)", service["image"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_learner_of_compose_can_write_its_volumes_and_nothing_else() -> None:
    learner, variables = services()["streamlearn"], environment_of_image()
    assert learner["read_only"] is True
    assert learner["tmpfs"] == ["/tmp"]  # noqa: S108 - in a container
    writable = {target for _, target, *mode in mounts(learner) if mode != ["ro"]}
    assert writable == {variables["STREAMLEARN_PUBLISHER__DIRECTORY"], variables["HF_HOME"]}


def test_the_feed_of_compose_keeps_the_texts_on_a_volume_and_stops_when_it_is_told_to() -> None:
    feed = services()["feed"]
    writable = {target: source for source, target, *mode in mounts(feed) if mode != ["ro"]}
    assert writable == {feed["environment"]["XDG_CACHE_HOME"]: "hub"}
    assert feed["init"] is True


def test_the_project_of_compose_is_called_streamlearn() -> None:
    lines = [line for line in (DEPLOY / ".env").read_text().splitlines() if not line.startswith("#")]
    assert lines == ["COMPOSE_PROJECT_NAME=streamlearn"]


def test_prometheus_finds_the_learner_of_compose_and_its_group() -> None:
    (static,) = read(DEPLOY / "prometheus" / "prometheus.yaml")["scrape_configs"][0]["static_configs"]
    config = compose_configuration()
    assert static["targets"] == [f"streamlearn:{config.monitor.port}"]
    assert static["labels"] == {"group": config.kafka.group}
    targets = {target for _, target, *_ in mounts(services()["prometheus"])}
    assert {
        f"/etc/prometheus/{name}" for name in read(DEPLOY / "prometheus" / "prometheus.yaml")["rule_files"]
    } < targets


def test_grafana_asks_the_prometheus_of_compose_and_shows_the_dashboard_that_is_mounted() -> None:
    provisioning = DEPLOY / "grafana" / "provisioning"
    (source,) = read(provisioning / "datasources" / "prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read(provisioning / "dashboards" / "streamlearn.yaml")["providers"]
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert Path(home).parent == Path(provider["options"]["path"])
    assert home in {target for _, target, *_ in mounts(services()["grafana"])}


def compose_configuration() -> Config:
    return load(DEPLOY / "compose" / "streamlearn.yaml", environment=environment_of_image())


def test_the_learner_of_compose_reads_the_topic_that_is_created_and_shows_something_within_minutes() -> None:
    config = compose_configuration()
    create = services()["topic"]["command"]
    assert create[create.index("--topic") + 1] == config.kafka.topic
    assert config.kafka.bootstrap_servers in services()["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert config.events.labels == "discover"
    assert config.publisher.snapshots.every_seconds
    assert config.publisher.snapshots.every_seconds <= 60


def test_the_feed_of_compose_sends_every_record_of_the_demo_but_tombstones() -> None:
    lines = list(script(DEPLOY / "compose" / "feed.py").lines((900, 1, 1)))
    repeated, malformed, tombstones = 1, 6, 1
    assert len(lines) == 902 + repeated + malformed - tombstones
    assert not [line for line in lines if b"\n" in line or not line.strip()]
