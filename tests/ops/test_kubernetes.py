"""The Kubernetes manifests, held against the image, the code and the real tools."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from streamlearn.config import Config, load
from streamlearn.consumer.commits import REQUEST_MILLISECONDS, WAIT_SECONDS
from streamlearn.consumer.dead_letters import CLOSE_SECONDS
from streamlearn.parts import SETTLE_SECONDS
from tests.ops.manifests import (
    DEPLOY,
    KUBERNETES,
    OF_THE_OPERATOR,
    OVERLAY,
    Tree,
    environment_of_image,
    of_image,
    read,
    run,
    script,
    services,
    tool,
)


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
