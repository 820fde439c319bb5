"""The chart renders for every shape in ci/, to objects that Kubernetes knows and the code agrees with."""

from __future__ import annotations

import json
from pathlib import Path

import helm_python as helm
import pytest
import yaml

from agents.app import app
from streams.core.settings import Settings, load
from tests.unit.ops.chart import (
    CHART,
    ROOT,
    SHAPES,
    check,
    environment,
    kind,
    pods,
    refused_kinds,
    render,
    values,
)


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_every_shape_renders_to_valid_objects(path):
    """No cluster runs here: a field in the wrong place would first be met at an upgrade."""
    documents = render(yaml.safe_load(path.read_text()))
    assert kind(documents, "StatefulSet")
    for document in documents:
        check(document)


def test_helm_lints_the_chart():
    """Helm's own opinion, its wish for an icon apart."""
    report = helm.lint(str(CHART), values("secured"), strict=True)
    assert report["errors"] == []
    assert [m for m in report["messages"] if "icon" not in m["error"]] == []


def test_a_misplaced_field_would_be_seen(tmp_path):
    """The validators can say no, to Kubernetes' objects and to others'."""
    mistakes = {
        "statefulset.yaml": ("podManagementPolicy:", "podManagmentPolicy:"),
        "availability.yaml": ("maxReplicaCount:", "maxReplicasCount:"),
    }
    assert refused_kinds(values("secured"), tmp_path, mistakes) == {"StatefulSet", "ScaledObject"}


@pytest.mark.parametrize(
    "change",
    [
        {"kafka": {"bootstrap": "no-port"}},
        {"replicaCount": 3},
        {"terminationGracePeriodSeconds": 25},
        {"config": {"drain_timeout_s": 55}},
        {"kafka": {"bootstrap": "kafka:9092", "securityProtocol": "SASL_SSL", "user": "dia"}},
        {"redis": {"url": "redis://user:password@redis:6379"}},
    ],
    ids=["address", "unknown value", "grace", "drain", "no secret", "password in a value"],
)
def test_values_that_would_not_work_are_refused(change):
    """At `helm install`, in words, and not by a pod that does not come up."""
    with pytest.raises(helm.HelmError):
        render({**values("plain"), **change})


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_pods_are_restricted_and_tell_settings_that_exist(path, tmp_path):
    """A worker refuses a variable it does not know, Kubernetes' service links included."""
    for pod in pods(render(yaml.safe_load(path.read_text()))):
        (container,) = pod["containers"]
        environ = environment(pod)
        settings, _ = load({**environ, "DIA_HOME": str(tmp_path)})
        assert settings.kafka_bootstrap
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
        for name, value in environ.items():
            if name.endswith("_FILE"):
                assert str(Path(value).parent) in mounted, name


def test_large_numbers_arrive_whole():
    """Helm reads 20000000 as 2e+07, which is no whole number to the worker."""
    (pod, *_) = pods(kind(render(values("secured")), "StatefulSet"))
    environ = environment(pod)
    assert environ["DIA_MAX_IDS"] == "20000000"
    assert environ["DIA_COMMIT_INTERVAL_S"] == "0.5"


def test_groups_replace_the_default_one():
    """A default group beside the named ones would run every agent twice."""
    names = {one["metadata"]["name"] for one in kind(render(values("secured")), "StatefulSet")}
    assert names == {"dia-metrics", "dia-rest"}
    assert [one["metadata"]["name"] for one in kind(render(values("plain")), "StatefulSet")] == [
        "dia-all"
    ]
    known = {"all", *(agent.name for agent in tuple(app.agents.values()))}
    for one in kind(render(values("secured")), "StatefulSet"):
        arguments = one["spec"]["template"]["spec"]["containers"][0]["args"]
        assert set(arguments[-1].split(",")) <= known


def test_a_pod_has_time_to_drain_and_a_group_to_hear_of_it():
    """Killed early, a worker redoes what it had almost committed; a static member that is gone
    longer than the session loses its partitions to the others."""
    documents = render(values("plain"))
    settings = Settings()
    for pod in pods(kind(documents, "StatefulSet")):
        assert pod["terminationGracePeriodSeconds"] > settings.drain_timeout_s + 10
        probe = pod["containers"][0]["livenessProbe"]
        assert probe["httpGet"] == {"path": "/livez", "port": "http"}


def test_ports_agree_with_the_image():
    """The image opens the port; probes, Service and monitor only name it."""
    image = (ROOT / "docker/Dockerfile").read_text()
    documents = render(values("secured"))
    (service,) = kind(documents, "Service")
    (port,) = service["spec"]["ports"]
    assert f"DIA_HTTP_PORT={port['port']}" in image
    for pod in pods(kind(documents, "StatefulSet")):
        (opened,) = pod["containers"][0]["ports"]
        assert (opened["name"], opened["containerPort"]) == (port["targetPort"], port["port"])
    (monitor,) = kind(documents, "ServiceMonitor")
    assert monitor["spec"]["endpoints"][0]["port"] == port["name"]
    user = _user_of(image)
    for pod in pods(documents):
        assert pod["securityContext"]["runAsUser"] == user


def _user_of(image):
    """The image's user, a number."""
    line = next(line for line in image.splitlines() if line.startswith("USER "))
    return int(line.removeprefix("USER ").partition(":")[0])


@pytest.mark.parametrize(
    ("address", "port"),
    [("http://c.monitoring:4318", 4318), ("https://c", 443), ("http://c", 80), ("", None)],
)
def test_the_collector_of_traces_can_be_reached(address, port):
    """A policy that shuts it out would lose every span, and the pods would only count them."""
    given = values("secured")
    given["config"] = {**given["config"], "otel_endpoint": address}
    policy, *_ = kind(render(given), "NetworkPolicy")
    opened = [one["port"] for rule in policy["spec"]["egress"] for one in rule["ports"]]
    usual = render({**given, "config": {}})
    before = [
        one["port"]
        for rule in kind(usual, "NetworkPolicy")[0]["spec"]["egress"]
        for one in rule["ports"]
    ]
    assert opened == before + ([port] if port else [])


def test_pods_scale_on_cpu_and_memory_in_steps_that_can_be_chosen():
    """How fast to scale depends on how much state a partition restores, which only its owner knows."""
    given = values("cpu")
    [scaler] = kind(render(given), "HorizontalPodAutoscaler")
    spec = scaler["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (3, 10)
    targets = {
        one["resource"]["name"]: one["resource"]["target"]["averageUtilization"]
        for one in spec["metrics"]
    }
    assert targets == {"cpu": 70, "memory": 80}
    assert spec["behavior"]["scaleUp"]["policies"] == [
        {"type": "Percent", "value": 100, "periodSeconds": 30}
    ]
    assert spec["behavior"]["scaleDown"]["policies"] == [
        {"type": "Percent", "value": 50, "periodSeconds": 60}
    ]
    quick = {"scaleDown": {"stabilizationWindowSeconds": 60}}
    chosen = {**given["autoscaling"], "behavior": quick, "memoryUtilization": 0}
    [scaler] = kind(render({**given, "autoscaling": chosen}), "HorizontalPodAutoscaler")
    assert scaler["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 60
    assert [one["resource"]["name"] for one in scaler["spec"]["metrics"]] == ["cpu"]


def test_scaling_asks_for_time_behind_of_metrics_that_exist(known, missing):
    """A query that finds nothing reads as no lag."""
    scaled = kind(render(values("secured")), "ScaledObject")
    assert scaled
    for one in scaled:
        (trigger,) = one["spec"]["triggers"]
        assert missing(trigger["metadata"]["query"], known) == set()
        assert "dia_event_time_lag_seconds" in trigger["metadata"]["query"]
    stateful = kind(render(values("secured")), "StatefulSet")
    assert not any("replicas" in one["spec"] for one in stateful), "they would fight"


def test_rules_and_dashboards_are_those_of_the_repository():
    """One set of files for every way to run it."""
    documents = render(values("secured"))
    carried = [
        group for rule in kind(documents, "PrometheusRule") for group in rule["spec"]["groups"]
    ]
    files = sorted((ROOT / "ops/prometheus/rules").glob("*.yaml"))
    assert carried == [g for path in files for g in yaml.safe_load(path.read_text())["groups"]]
    (config,) = kind(documents, "ConfigMap")
    assert {name: json.loads(text) for name, text in config["data"].items()} == {
        path.name: json.loads(path.read_text())
        for path in (ROOT / "ops/grafana/dashboards").iterdir()
    }
