"""The image, the compose file and the Kubernetes manifests, held against each other, the code and the real tools."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from streamlearn.config import Config, Monitor, load
from streamlearn.consumer.commits import REQUEST_MILLISECONDS, WAIT_SECONDS
from streamlearn.consumer.dead_letters import CLOSE_SECONDS
from streamlearn.monitor.health import Health
from streamlearn.monitor.live import Live
from streamlearn.monitor.metrics import Metrics
from streamlearn.monitor.server import Server
from streamlearn.pipeline import SETTLE_SECONDS
from tests.certificates import make_certificates

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAY = KUBERNETES / "overlays" / "example"
DOCKERFILE = DEPLOY / "container" / "Dockerfile"
HEALTHCHECK = DEPLOY / "container" / "healthcheck.py"
INSTALLED = "/usr/local/lib/streamlearn/healthcheck.py"
COMPOSE = DEPLOY / "compose.yaml"
OF_THE_OPERATOR = {"ServiceMonitor", "PrometheusRule"}
Tree = dict[str, Any]


def tool(name: str) -> str:
    """Return the path of a tool of the dev extra, which stands beside the interpreter."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"{name} is missing; it belongs to the extra dev"
    return found


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=120)


def read(path: Path) -> Tree:
    tree: Tree = yaml.safe_load(path.read_text())
    return tree


def instructions(path: Path = DOCKERFILE) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile with their arguments, comments left out and lines joined."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    begin = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[begin:]


def of_image(name: str) -> str:
    """Return the argument of the last instruction called `name` in the image that is built."""
    return [rest for instruction, rest in last_stage() if instruction == name][-1]


def environment_of_image() -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in of_image("ENV").split())


# The image


def test_hadolint_has_nothing_to_say_about_the_dockerfile() -> None:
    assert "hadolint ignore" not in DOCKERFILE.read_text()
    done = run(tool("hadolint"), "--no-color", "--failure-threshold", "style", DOCKERFILE)
    assert done.returncode == 0, done.stdout


def test_the_image_is_the_last_stage_and_starts_from_the_bare_base() -> None:
    stages = [rest for name, rest in instructions() if name == "FROM"]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm AS base", stages[0])
    assert stages[1:] == ["base AS builder", "base AS runtime"]
    assert not [rest for name, rest in last_stage() if name == "RUN" and re.search(r"\b(pip|apt|apt-get|gcc)\b", rest)]


def test_the_image_installs_the_torch_that_was_tested_for_the_processor_unless_told_otherwise() -> None:
    assert ("ARG", "TORCH_INDEX=https://download.pytorch.org/whl/cpu") in instructions()
    (install,) = [rest for name, rest in instructions() if name == "RUN" and "TORCH_INDEX" in rest]
    assert install.split()[-1] in (ROOT / "constraints.txt").read_text().splitlines()


def test_every_install_into_the_image_is_bound_to_what_was_tested_and_leaves_no_cache() -> None:
    for name, rest in instructions():
        if name == "RUN":
            for install in re.findall(r"pip --python \S+ install[^&]*", rest):
                assert "--constraint constraints.txt" in install
                assert "--no-cache-dir" in install


def test_the_image_runs_as_a_user_without_rights_and_with_a_number() -> None:
    assert of_image("USER") == "10001:10001"
    assert [name for name, _ in last_stage()].index("RUN") < [name for name, _ in last_stage()].index("USER")


def test_the_image_stops_on_sigterm_with_no_shell_in_between() -> None:
    assert of_image("STOPSIGNAL") == "SIGTERM"
    assert json.loads(of_image("ENTRYPOINT")) == ["streamlearn"]
    assert json.loads(of_image("CMD")) == ["run", "--config", "/etc/streamlearn/streamlearn.yaml"]


def test_the_settings_of_the_image_are_settings() -> None:
    config = load(environment=environment_of_image())
    assert config.monitor.host == "0.0.0.0"  # noqa: S104 - in a container
    assert str(config.monitor.port) == of_image("EXPOSE")
    assert config.publisher.directory == Path("/var/lib/streamlearn")


def test_what_the_image_writes_belongs_to_its_user() -> None:
    (prepare,) = [rest for name, rest in last_stage() if name == "RUN"]
    owned = re.search(r"install -d -o 10001 -g 10001 -m \d+ (.*)", prepare)
    variables = environment_of_image()
    assert owned
    assert set(owned[1].split()) == {variables["STREAMLEARN_PUBLISHER__DIRECTORY"], variables["HF_HOME"]}


@pytest.mark.parametrize("path", [".git", ".venv", "tests", "benchmarks", "deploy/GUARANTEES.md", "secret.env", "new"])
def test_the_build_context_leaves_out(path: str) -> None:
    assert ignored(path)


def test_the_build_context_has_all_that_the_dockerfile_copies() -> None:
    copied = [rest for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    for source in (source for rest in copied for source in rest.split()[:-1]):
        assert (ROOT / source).exists()
        assert not ignored(source)


def ignored(path: str) -> bool:
    """Whether .dockerignore, in which the last line that fits decides, leaves `path` out of the build context."""
    verdict = False
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and (fnmatch(path, pattern) or path.startswith(f"{pattern}/")):
            verdict = not line.startswith("!")
    return verdict


# Compose


def services() -> Tree:
    found: Tree = read(COMPOSE)["services"]
    return found


def mounts(service: Tree) -> list[list[str]]:
    return [volume.split(":") for volume in service.get("volumes", [])]


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


def script(path: Path) -> Any:
    """Return a script of deploy/ as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Kubernetes


def kustomizations() -> list[Path]:
    return sorted(KUBERNETES.rglob("kustomization.yaml"))


def referenced(kustomization: Path) -> set[Path]:
    """Return the files and folders that a kustomization names."""
    tree = read(kustomization)
    names = [*tree.get("resources", []), *tree.get("components", [])]
    names += [patch["path"] for patch in tree.get("patches", []) if "path" in patch]
    for generator in [*tree.get("configMapGenerator", []), *tree.get("secretGenerator", [])]:
        names += [name.partition("=")[2] or name for name in [*generator.get("files", []), *generator.get("envs", [])]]
    return {(kustomization.parent / name).resolve() for name in names}


def built_in() -> list[Path]:
    """Return the whole resources, and no patches, of kinds that every cluster has."""
    whole = {path for kustomization in kustomizations() for path in referenced_resources(kustomization)}
    return sorted(path for path in whole if read(path)["kind"] not in OF_THE_OPERATOR)


def referenced_resources(kustomization: Path) -> list[Path]:
    paths = [(kustomization.parent / name).resolve() for name in read(kustomization).get("resources", [])]
    return [path for path in paths if path.is_file()]


def resource(kind: str) -> Tree:
    paths = {path for kustomization in kustomizations() for path in referenced_resources(kustomization)}
    (found,) = [tree for tree in map(read, sorted(paths)) if tree["kind"] == kind]
    return found


def pod() -> Tree:
    found: Tree = resource("StatefulSet")["spec"]["template"]["spec"]
    return found


def container() -> Tree:
    (found,) = pod()["containers"]
    tree: Tree = found
    return tree


def tickets() -> Config:
    """Return what a learner of the overlay starts with."""
    variables = {entry["name"]: "the secret" for entry in container()["env"]}
    return load(OVERLAY / "streamlearn.yaml", environment=environment_of_image() | variables)


@pytest.mark.parametrize("path", built_in(), ids=lambda path: path.name)
def test_kubernetes_knows_every_field(path: Path) -> None:
    done = run(tool("kubernetes-validate"), "--strict", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", kustomizations(), ids=lambda path: str(path.parent.relative_to(KUBERNETES)))
def test_a_kustomization_names_files_that_are_there_and_all_that_are(path: Path) -> None:
    named = referenced(path)
    for other in named:
        assert other.is_file() or (other / "kustomization.yaml").is_file(), other
    beside = {other for other in path.parent.iterdir() if other.is_file() and other != path}
    assert beside == {other for other in named if other.is_file()}


def test_a_patch_meets_a_resource() -> None:
    for kustomization in kustomizations():
        for patch in read(kustomization).get("patches", []):
            tree = read(kustomization.parent / patch["path"])
            assert resource(tree["kind"])["metadata"]["name"] == tree["metadata"]["name"]


def built(folder: Path) -> list[Tree]:
    """Return what kustomize makes of a folder."""
    tools = {"kustomize": "build", "kubectl": "kustomize"}
    command = next(([path, verb] for name, verb in tools.items() if (path := shutil.which(name))), None)
    if not command:
        pytest.skip("there is no kustomize and no kubectl on the PATH")
    done = run(*command, folder)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_kustomize_builds_the_rules() -> None:
    (rule,) = built(KUBERNETES / "rules")
    assert rule["kind"] == "PrometheusRule"


def test_what_is_commented_out_adds_the_label_of_the_release(tmp_path: Path) -> None:
    shutil.copytree(KUBERNETES, tmp_path / "kubernetes")
    for folder, kind in (("overlays/example", "ServiceMonitor"), ("rules", "PrometheusRule")):
        path = tmp_path / "kubernetes" / folder / "kustomization.yaml"
        head, mark, tail = path.read_text().rpartition("the name of its release.\n")
        path.write_text(head + mark + re.sub(r"^( *)# ", r"\1", tail, flags=re.MULTILINE))
        labelled = [tree for tree in built(path.parent) if "release" in tree["metadata"].get("labels", {})]
        assert [tree["kind"] for tree in labelled] == [kind]


def test_kustomize_builds_the_example() -> None:
    made = built(OVERLAY)
    assert {tree["metadata"].get("namespace", tree["metadata"]["name"]) for tree in made} == {"streamlearn-tickets"}
    by_kind = {tree["kind"]: tree for tree in made}
    assert OF_THE_OPERATOR & by_kind.keys() == {"ServiceMonitor"}
    spec = by_kind["StatefulSet"]["spec"]["template"]["spec"]
    assert spec["volumes"][0]["configMap"]["name"] == by_kind["ConfigMap"]["metadata"]["name"]
    assert spec["containers"][0]["env"][0]["valueFrom"]["secretKeyRef"]["name"] == by_kind["Secret"]["metadata"]["name"]


def test_the_pod_keeps_to_the_restricted_standard_field_by_field() -> None:
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod().keys()
    security = pod()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert f"{security['runAsUser']}:{security['runAsGroup']}" == of_image("USER")
    assert security["fsGroup"] == security["runAsGroup"]
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not [volume for volume in pod()["volumes"] if "hostPath" in volume]
    assert read(OVERLAY / "namespace.yaml")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_pod_has_no_token_and_no_variables_of_services() -> None:
    assert pod()["automountServiceAccountToken"] is False
    assert resource("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod()["enableServiceLinks"] is False
    assert pod()["serviceAccountName"] == resource("ServiceAccount")["metadata"]["name"]


def test_active_and_standby_share_one_state_directory() -> None:
    spec = resource("StatefulSet")["spec"]
    assert spec["replicas"] == 2
    assert "volumeClaimTemplates" not in spec
    claim = resource("PersistentVolumeClaim")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    assert {"name": "state", "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}} in pod()["volumes"]


def test_the_pod_mounts_a_volume_wherever_the_image_reads_its_configuration_or_writes() -> None:
    at = {mount["mountPath"]: (mount["name"], mount.get("subPath")) for mount in container()["volumeMounts"]}
    variables = environment_of_image()
    assert at == {
        str(Path(json.loads(of_image("CMD"))[-1]).parent): ("configuration", None),
        variables["STREAMLEARN_PUBLISHER__DIRECTORY"]: ("state", None),
        variables["HF_HOME"]: ("state", "hub"),  # so that a new pod needs no hub
        "/tmp": ("tmp", None),  # noqa: S108 - in a container
    }
    assert {name for name, _ in at.values()} == {volume["name"] for volume in pod()["volumes"]}


def test_a_learner_that_is_told_to_stop_is_given_the_time_that_it_may_wait() -> None:
    twice = 2 * (SETTLE_SECONDS + WAIT_SECONDS)  # for the checkpoint that is being written, and for the last one
    leaving = 2 * REQUEST_MILLISECONDS / 1000 + CLOSE_SECONDS
    step_and_disk = 60
    grace = pod()["terminationGracePeriodSeconds"]
    assert grace >= twice + leaving + step_and_disk
    assert services()["streamlearn"]["stop_grace_period"] == f"{grace}s"


def test_the_probes_ask_what_is_answered_on_the_port_that_is_listened_on() -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"http": tickets().monitor.port}
    asked = {name: container()[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: get["path"] for name, get in asked.items()} == {
        "startupProbe": "/readyz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    assert {get["port"] for get in asked.values()} == {"http"}


def test_nobody_counts_a_learner_dead_while_it_loads_its_model() -> None:
    startup = container()["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    assert "--start-period=300s" in of_image("HEALTHCHECK")


def test_every_selector_meets_the_pods_and_nothing_is_called_otherwise() -> None:
    labels = resource("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        resource("StatefulSet")["spec"]["selector"]["matchLabels"],
        resource("Service")["spec"]["selector"],
        resource("PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        resource("NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selectors)
    assert resource("ServiceMonitor")["spec"]["selector"]["matchLabels"] == resource("Service")["metadata"]["labels"]
    assert resource("StatefulSet")["spec"]["serviceName"] == resource("Service")["metadata"]["name"]


def test_the_group_that_prometheus_shows_is_the_group_of_the_learner() -> None:
    (pairs,) = [entry for entry in read(OVERLAY / "kustomization.yaml")["labels"] if entry["includeTemplates"]]
    assert pairs["pairs"] == {"consumer_group": tickets().kafka.group}
    (endpoint,) = resource("ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["relabelings"] == [
        {
            "sourceLabels": ["__meta_kubernetes_namespace", "__meta_kubernetes_service_name"],
            "separator": "/",
            "targetLabel": "job",
        },
        {"sourceLabels": ["__meta_kubernetes_pod_label_consumer_group"], "targetLabel": "group"},
    ]
    jobs = re.findall(r'job=~"([^"]*)"', (DEPLOY / "prometheus" / "alerts.yaml").read_text())
    assert jobs
    assert all(re.fullmatch(job, f"tickets/{resource('Service')['metadata']['name']}") for job in jobs)
    assert endpoint["port"] in {port["name"] for port in resource("Service")["spec"]["ports"]}


def test_the_example_gives_the_learner_the_configuration_and_the_secret_that_it_asks_for() -> None:
    tree = read(OVERLAY / "kustomization.yaml")
    assert [generator["name"] for generator in tree["configMapGenerator"]] == [pod()["volumes"][0]["configMap"]["name"]]
    (variable,) = container()["env"]
    wanted = variable["valueFrom"]["secretKeyRef"]
    (generator,) = tree["secretGenerator"]
    assert generator["name"] == wanted["name"]
    lines = [line for line in (OVERLAY / "secret.env").read_text().splitlines() if not line.startswith("#")]
    assert lines == [f"{wanted['key']}=REPLACE-ME"]
    assert tickets().kafka.client["sasl_plain_password"] == "the secret"


def test_the_learner_uses_as_many_processors_as_it_asks_for() -> None:
    assert str(tickets().updater.threads) == container()["resources"]["requests"]["cpu"]
    assert "memory" in container()["resources"]["limits"]


def test_the_network_policy_lets_out_to_kafka_and_in_to_the_metrics() -> None:
    spec = resource("NetworkPolicy")["spec"]
    ports = [port["port"] for rule in spec["egress"] for port in rule["ports"]]
    servers = tickets().kafka.bootstrap_servers.split(",")
    assert {int(server.rpartition(":")[2]) for server in servers} < set(ports)
    assert [port["port"] for rule in spec["ingress"] for port in rule["ports"]] == [tickets().monitor.port]
    assert set(spec["policyTypes"]) == {"Ingress", "Egress"}


def test_the_network_policy_lets_out_to_the_dns_of_the_cluster_and_of_the_node() -> None:
    (names,) = [rule for rule in resource("NetworkPolicy")["spec"]["egress"] if {53} == ports_of(rule)]
    assert {port["protocol"] for port in names["ports"]} == {"UDP", "TCP"}
    assert [next(iter(peer)) for peer in names["to"]] == ["namespaceSelector", "ipBlock"]
    assert names["to"][1]["ipBlock"] == {"cidr": "169.254.20.10/32"}


def ports_of(rule: Tree) -> set[int]:
    return {port["port"] for port in rule["ports"]}


def test_pods_that_are_not_ready_keep_no_node_from_being_drained() -> None:
    spec = resource("PodDisruptionBudget")["spec"]
    assert spec["maxUnavailable"] == 1
    assert spec["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def groups_of_rules() -> list[Tree]:
    files = (DEPLOY / "prometheus" / f"{name}.yaml" for name in ("recording", "alerts"))
    return [group for path in files for group in read(path)["groups"]]


def test_the_prometheusrule_says_what_the_rule_files_say() -> None:
    maker = script(KUBERNETES / "make_prometheusrule.py")
    written = maker.TARGET.read_text()
    assert yaml.safe_load(written)["spec"]["groups"] == groups_of_rules()
    assert written == maker.text(maker.rule()), "run: python deploy/kubernetes/make_prometheusrule.py"


def test_the_prometheusrule_takes_where_the_runbooks_are_and_changes_nothing_else() -> None:
    maker = script(KUBERNETES / "make_prometheusrule.py")
    made = maker.text(maker.rule(runbooks="https://example.com/runbooks/"))
    assert "externalLabels" not in made
    groups = yaml.safe_load(made)["spec"]["groups"]
    for alert in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        assert alert["annotations"]["runbook_url"] == f"https://example.com/runbooks/{alert['alert']}.md"
        alert["annotations"]["runbook_url"] = f"{{{{ $externalLabels.runbooks }}}}/{alert['alert']}.md"
    assert groups == groups_of_rules()


def test_the_rules_are_there_once_and_not_with_each_learner() -> None:
    (home,) = [path for path in kustomizations() if "prometheusrule.yaml" in read(path)["resources"]]
    assert home.parent == KUBERNETES / "rules"
    assert not [path for path in kustomizations() if path != home and home.parent in referenced(path)]


# The health check


@pytest.fixture
def health() -> Health:
    return Health(60.0)


def probe(server: Server, *arguments: str) -> int:
    command = [sys.executable, "-I", str(HEALTHCHECK), *arguments]
    variables = {"STREAMLEARN_MONITOR__PORT": str(server.port), "http_proxy": "http://127.0.0.1:9"}
    return subprocess.run(command, env=variables, check=False, capture_output=True, timeout=60).returncode


@contextmanager
def listening(health: Health, **settings: Any) -> Iterator[Server]:
    server = Server(
        Monitor(port=0, **settings),
        registry=Metrics(CollectorRegistry()).registry,
        health=health,
        live=Live(topic="t", group="g"),
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


def test_the_health_check_says_whether_the_loop_is_alive() -> None:
    now = [0.0]
    health = Health(60.0, clock=lambda: now[0])
    with listening(health) as server:
        assert probe(server) == 0
        now[0] = 61.0
        assert probe(server) == 1
    assert probe(server) == 1


def test_the_health_check_of_compose_asks_whether_the_learner_is_ready(health: Health) -> None:
    *_, path = services()["streamlearn"]["healthcheck"]["test"]
    with listening(health) as server:
        assert probe(server, path) == 1
        health.model_loaded = health.joined = True
        assert probe(server, path) == 0


def test_the_health_check_needs_neither_a_certificate_that_fits_nor_a_password(tmp_path: Path, health: Health) -> None:
    made = make_certificates(tmp_path)
    user = {"username": "prometheus", "password": "a secret"}
    with listening(health, tls={"certificate": made.server, "key": made.server_key}, basic_auth=user) as server:
        assert probe(server) == 0


def test_image_and_compose_run_the_health_check_that_is_copied() -> None:
    assert f"COPY {HEALTHCHECK.relative_to(ROOT)} {INSTALLED}" in {" ".join(pair) for pair in last_stage()}
    assert json.loads(of_image("HEALTHCHECK").partition("CMD ")[2]) == ["python", "-I", INSTALLED]
    assert services()["streamlearn"]["healthcheck"]["test"][:4] == ["CMD", "python", "-I", INSTALLED]
