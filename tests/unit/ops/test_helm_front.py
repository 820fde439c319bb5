"""Edge and console in the chart: they get what their configuration names, and other access is
closed.
"""

from __future__ import annotations

import re

import helm_python as helm
import pytest
import yaml

from agents.app import app
from streams.cli import main
from streams.connect.access import web_server
from streams.connect.access.listening import Listening
from streams.core.settings import Settings, load
from streams.http.console import serving as console_serving
from streams.http.edge.validator import topics_taken
from tests.unit.ops.chart import (
    CHART,
    ROOT,
    component,
    environment,
    kind,
    refused_kinds,
    render,
    values,
)

FRONTS = ("edge", "console")
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40}
IDLE_BYTES = 110 << 20
"""A process of dia that does nothing: docs/protocols/bounds.md, Memory."""


def _bytes(quantity):
    number, unit = re.fullmatch(r"(\d+)([A-Z]i)", quantity).groups()
    return int(number) * UNITS[unit]


def _container(documents, front):
    pod = component(documents, "StatefulSet", f"dia-{front}")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


def _changed(**changes):
    """The shape ``front`` with some values of its parts replaced."""
    given = values("front")
    return {name: {**part, **changes.get(name, {})} for name, part in given.items()}


def test_edge_and_console_are_off_by_default():
    """An upgrade opens no port."""
    names = {one["metadata"]["name"] for one in render(values("plain"))}
    assert not names & {"dia-edge", "dia-console"}


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": {"existingSecret": ""}},
        {"edge": {"tls": {"existingSecret": ""}}},
        {"console": {"tls": {"behindProxy": False}}},
        {"console": {"ingress": {"enabled": True, "host": "dia.example.org"}}},
        {"edge": {"from": []}},
        {"edge": {"terminationGracePeriodSeconds": 30}},
        {"groups": {"edge": {"agents": "all"}}},
    ],
    ids=["tokens", "edge in clear", "console in clear", "ingress in clear", "all", "grace", "name"],
)
def test_unsafe_values_are_refused(change):
    """The process would refuse its start, or, as with an empty list of peers, Kubernetes would
    admit all.
    """
    given = _changed(**change)
    given.update({name: part for name, part in change.items() if name not in given})
    with pytest.raises(helm.HelmError):
        render(given)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("proxied", [False, True], ids=["own certificate", "behind a proxy"])
def test_the_process_accepts_its_command_line(front, proxied, tmp_path, monkeypatch):
    """Every option exists, and together they satisfy the check for clear text."""
    tls = {"behindProxy": True} if proxied else {"existingSecret": "cert"}
    pod, container = _container(render(_changed(**{front: {"tls": tls}})), front)
    asked = []
    serve = f"streams.http.{front}.serving.serve"
    monkeypatch.setattr(serve, lambda settings, declared, listening, said: asked.append(listening))
    mounted = {one["mountPath"] for one in container["volumeMounts"]}
    arguments = [
        # The files of the Secret must exist for typer.
        str(tmp_path / one.removeprefix("/secrets/tls/")) if one.startswith("/secrets") else one
        for one in container["args"]
    ]
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).touch()
    for name, value in {**environment(pod), "DIA_HOME": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 0
    (listening,) = asked
    assert isinstance(listening, Listening)
    listening.require_safe()
    assert listening.host == "0.0.0.0"
    assert listening.behind_tls is proxied
    assert ("/secrets/tls" in mounted) is not proxied
    (opened,) = [one for one in container["ports"] if one["name"] == front]
    assert listening.port == opened["containerPort"]


@pytest.mark.parametrize("front", FRONTS)
def test_tokens_come_from_the_secret(front, tmp_path):
    """A folder instead of a single file: Kubernetes updates folders only, and a revocation must
    take effect.
    """
    pod, container = _container(render(values("front")), front)
    settings, _ = load({**environment(pod), "DIA_HOME": str(tmp_path)})
    (mount,) = [one for one in container["volumeMounts"] if one["name"] == "tokens"]
    assert settings.tokens_file == f"{mount['mountPath']}/tokens.json"
    assert "subPath" not in mount
    (volume,) = [one for one in pod["volumes"] if one["name"] == "tokens"]
    assert volume["secret"]["secretName"] == values("front")["tokens"]["existingSecret"]


@pytest.mark.parametrize("front", FRONTS)
def test_service_probes_and_monitor_reach_the_port(front):
    """Service, Ingress, policy, probes and monitor use the port's name; only the container has its
    number.
    """
    documents = render(values("front"))
    workload = component(documents, "StatefulSet", f"dia-{front}")
    labels = workload["spec"]["template"]["metadata"]["labels"]
    _, container = _container(documents, front)
    ports = {one["name"]: one["containerPort"] for one in container["ports"]}
    assert set(ports) == {"http", front}
    service = component(documents, "Service", f"dia-{front}")
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == front
    (called,) = service["spec"]["ports"]
    assert (called["targetPort"], called["port"]) == (front, ports[front])
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["port"] == "http"
    policy = component(documents, "NetworkPolicy", f"dia-{front}")
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    (rule,) = policy["spec"]["ingress"]
    assert rule["from"] == values("front")[front]["from"]
    assert rule["ports"] == [{"port": front, "protocol": "TCP"}]
    headless = component(documents, "Service", "dia")
    assert headless["spec"]["selector"].items() <= labels.items()
    (monitor,) = kind(documents, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {one["name"] for one in headless["spec"]["ports"]} & set(ports)


def test_the_console_reaches_every_worker(tmp_path):
    """By the headless Service, through the policy: otherwise it would show no worker."""
    documents = render(values("front"))
    pod, _ = _container(documents, "console")
    settings, _ = load({**environment(pod), "DIA_HOME": str(tmp_path)})
    headless = component(documents, "Service", "dia")
    (port,) = headless["spec"]["ports"]
    assert settings.workers_at == f"{headless['metadata']['name']}:{port['port']}"
    assert headless["spec"]["clusterIP"] == "None", "the Service must resolve to every pod"
    policy = component(documents, "NetworkPolicy", "dia")["spec"]
    labels = component(documents, "StatefulSet", "dia-console")["spec"]["template"]["metadata"]
    asked = [one for rule in policy["egress"] for one in rule.get("to", ()) if rule["ports"]]
    assert asked == [{"podSelector": {"matchLabels": headless["spec"]["selector"]}}]
    (rule,) = policy["ingress"]
    callers = [one["podSelector"]["matchLabels"] for one in rule["from"] if "podSelector" in one]
    assert [caller.items() <= labels["labels"].items() for caller in callers] == [True]
    closed, *_ = kind(render(values("secured")), "NetworkPolicy")
    assert not any("to" in rule for rule in closed["spec"]["egress"])


def test_an_ingress_forwards_to_the_service_with_tls():
    """An Ingress exists only if configured."""
    documents = render(values("front"))
    (ingress,) = kind(documents, "Ingress")
    (rule,) = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = component(documents, "Service", backend["name"])
    assert backend["port"]["name"] in {one["name"] for one in service["spec"]["ports"]}
    assert ingress["spec"]["tls"] == [{"hosts": [rule["host"]], "secretName": "dia-console-tls"}]


def test_default_ports_are_those_of_the_code():
    """The chart has the same default ports as the code."""
    documents = render({**values("front"), "config": {}})
    for front, port in (("edge", Settings().edge_port), ("console", Settings().console_port)):
        _, container = _container(documents, front)
        assert {"name": front, "containerPort": port} in container["ports"]


def test_disks_keep_the_spooled_events():
    """Events accepted while Kafka is away survive their pod, and fit on its disk."""
    documents = render(_changed(console={"persistence": {}}))
    for front in FRONTS:
        workload = component(documents, "StatefulSet", f"dia-{front}")
        (claim,) = workload["spec"]["volumeClaimTemplates"]
        _, container = _container(documents, front)
        assert {"name": claim["metadata"]["name"], "mountPath": "/state"} in container[
            "volumeMounts"
        ]
        kept = workload["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert set(kept.values()) == {"Retain"}
    assert "DIA_HOME=/state" in (ROOT / "docker/Dockerfile").read_text()
    settings = Settings()
    edge = component(documents, "StatefulSet", "dia-edge")["spec"]["volumeClaimTemplates"][0]
    room = _bytes(edge["spec"]["resources"]["requests"]["storage"])
    assert (
        room
        >= len(topics_taken(app.topology)) * settings.edge_spool_bytes
        + settings.state_free_min_bytes
    )


def test_the_memory_limit_covers_the_bounds_of_the_process():
    """A limit below the process's own bounds would kill it during a burst."""
    _, container = _container(render(values("front")), "edge")
    bounds = (len(topics_taken(app.topology)) + 1) * Settings().edge_inflight_bytes
    assert _bytes(container["resources"]["limits"]["memory"]) > IDLE_BYTES + 2 * bounds


def test_the_grace_period_covers_deregistration_and_pending_answers():
    """After an early kill a sender does not know whether its events are stored."""
    documents = render(_changed())
    for front, stop_s in (
        ("edge", web_server.STOP_TIMEOUT_S),
        ("console", console_serving.STOP_TIMEOUT_S),
    ):
        pod, container = _container(documents, front)
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        (waits,) = re.findall(r"sleep\((\d+)\)", command[-1])
        assert pod["terminationGracePeriodSeconds"] > int(waits) + stop_s


def test_edges_scale_and_the_console_has_one_replica():
    """Two consoles would not share sessions; an HPA and fixed replicas would conflict."""
    documents = render(values("front"))
    (scaler,) = kind(documents, "HorizontalPodAutoscaler")
    edge = component(documents, "StatefulSet", scaler["spec"]["scaleTargetRef"]["name"])
    assert edge["metadata"]["name"] == "dia-edge"
    assert "replicas" not in edge["spec"]
    assert component(documents, "StatefulSet", "dia-console")["spec"]["replicas"] == 1
    budget = component(documents, "PodDisruptionBudget", "dia-edge")
    labels = edge["spec"]["template"]["metadata"]["labels"]
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    fixed = render(_changed(edge={"autoscaling": {"enabled": False}, "replicas": 3}))
    assert component(fixed, "StatefulSet", "dia-edge")["spec"]["replicas"] == 3


def test_a_misplaced_field_is_detected(tmp_path):
    """The validators must be able to fail for these files too."""
    mistakes = {
        "front.yaml": ("minReadySeconds:", "minReadySecond:"),
        "front-service.yaml": ("pathType:", "pathTypes:"),
        "availability.yaml": ("averageUtilization:", "averageUtilisation:"),
        "networkpolicy.yaml": ("policyTypes:", "policyType:"),
    }
    assert refused_kinds(values("front"), tmp_path, mistakes) == {
        "StatefulSet",
        "Ingress",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
    }


def test_every_value_is_in_the_schema():
    """A key outside of the schema cannot be set; one without a default renders as empty."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    given = {name: defaults[name] for name in ("tokens", *FRONTS)}
    assert render({**values("plain"), **given})


def _logins(documents, name):
    """Kafka user, ClickHouse user, and the Secrets that a pod mounts."""
    (pod,) = [
        one["spec"]["template"]["spec"]
        for one in documents
        if one["metadata"]["name"] == name and one["kind"] in {"StatefulSet", "Job"}
    ]
    found = environment(pod)
    secrets = {one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    return found.get("DIA_KAFKA_SASL_USER"), found["DIA_CLICKHOUSE_USER"], secrets


def test_each_component_has_its_own_principal():
    """A component that listens to the network must not have the password that deletes changelogs."""
    given = {**values("secured"), "tokens": {"existingSecret": "t"}}
    own = {
        name: {
            "kafka": {"user": f"dia-{name}", "existingSecret": f"kafka-{name}"},
            "clickhouse": {"user": name, "existingSecret": f"clickhouse-{name}"},
        }
        for name in ("worker", *FRONTS)
    }
    fronts = {name: {"enabled": True, "tls": {"behindProxy": True}} for name in FRONTS}
    documents = render({**given, **fronts, "access": own})
    for component_name, objects in (
        ("worker", ("dia-metrics", "dia-rest")),
        ("edge", ("dia-edge",)),
        ("console", ("dia-console",)),
    ):
        for name in objects:
            kafka, clickhouse, secrets = _logins(documents, name)
            assert (kafka, clickhouse) == (f"dia-{component_name}", component_name)
            named = {one for one in secrets if one.startswith(("kafka-", "clickhouse-", "dia-"))}
            assert {f"kafka-{component_name}", f"clickhouse-{component_name}"} <= named
            assert not named & {"dia-kafka", "dia-clickhouse"}
    for job in ("dia-topics", "dia-migrations"):
        assert _logins(documents, job)[:2] == ("dia", "dia")


def test_without_own_principals_all_components_use_that_of_the_release():
    """An upgrade changes no login."""
    assert _logins(render(values("plain")), "dia-all")[1] == "dia"
