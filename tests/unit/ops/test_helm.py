"""The chart renders every shape in ci/ to valid Kubernetes objects that are consistent with the
code.
"""

from __future__ import annotations

import json
import re
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
    """These tests have no cluster: otherwise a misplaced field would first show at an upgrade."""
    documents = render(yaml.safe_load(path.read_text()))
    assert kind(documents, "StatefulSet")
    for document in documents:
        check(document)


def test_helm_lints_the_chart():
    """Helm's own linter, except for its wish for an icon."""
    report = helm.lint(str(CHART), values("secured"), strict=True)
    assert report["errors"] == []
    assert [m for m in report["messages"] if "icon" not in m["error"]] == []


def test_a_misplaced_field_is_detected(tmp_path):
    """The validators must be able to fail, for Kubernetes' objects and for others."""
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
        {"clickhouse": {"shards": "http://user:password@clickhouse:8123"}},
        {"config": {"redis_url": "redis://user:password@redis:6379"}},
        {"config": {"kafka_sasl_password": "password"}},
        {"config": {"cache_secret": "password"}},
        {"networkPolicy": {"enabled": True, "from": []}},
    ],
    ids=[
        *("address", "unknown value", "grace", "drain", "no secret", "password in a value"),
        *("password of ClickHouse", "password in an address", "password", "secret"),
        "every peer",  # an empty list admits all
    ],
)
def test_invalid_values_are_refused(change):
    """`helm install` gives a message, instead of a pod that does not start."""
    with pytest.raises(helm.HelmError):
        render({**values("plain"), **change})


@pytest.mark.parametrize("path", SHAPES, ids=lambda path: path.stem)
def test_pods_are_restricted_and_set_existing_settings(path, tmp_path):
    """A worker refuses unknown variables, including Kubernetes' service links."""
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


def test_large_numbers_are_rendered_as_integers():
    """Helm reads 20000000 as 2e+07, which is not an integer for the worker."""
    (pod, *_) = pods(kind(render(values("secured")), "StatefulSet"))
    environ = environment(pod)
    assert environ["DIA_MAX_IDS"] == "20000000"
    assert environ["DIA_COMMIT_INTERVAL_S"] == "0.5"


def test_groups_replace_the_default_one():
    """With a default group beside the named ones every agent would run twice."""
    names = {one["metadata"]["name"] for one in kind(render(values("secured")), "StatefulSet")}
    assert names == {"dia-metrics", "dia-rest"}
    assert [one["metadata"]["name"] for one in kind(render(values("plain")), "StatefulSet")] == [
        "dia-all"
    ]
    known = {"all", *(agent.name for agent in tuple(app.agents.values()))}
    for one in kind(render(values("secured")), "StatefulSet"):
        arguments = one["spec"]["template"]["spec"]["containers"][0]["args"]
        assert set(arguments[-1].split(",")) <= known


def test_the_grace_period_covers_the_drain_timeout():
    """A worker that is killed early repeats almost committed work."""
    documents = render(values("plain"))
    settings = Settings()
    for pod in pods(kind(documents, "StatefulSet")):
        assert pod["terminationGracePeriodSeconds"] > settings.drain_timeout_s + 10
        probe = pod["containers"][0]["livenessProbe"]
        assert probe["httpGet"] == {"path": "/livez", "port": "http"}


def test_ports_agree_with_the_image():
    """The image opens the port; probes, Service and monitor name it."""
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
    """The image's numeric user."""
    line = next(line for line in image.splitlines() if line.startswith("USER "))
    return int(line.removeprefix("USER ").partition(":")[0])


@pytest.mark.parametrize(
    ("address", "port"),
    [("http://c.monitoring:4318", 4318), ("https://c", 443), ("http://c", 80), ("", None)],
)
def test_the_collector_of_traces_can_be_reached(address, port):
    """A policy that blocks the collector would lose every span, and pods would only count them."""
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


@pytest.mark.parametrize(
    ("config", "opened"),
    [({"oidc_file": "/etc/dia/oidc.toml"}, [9092, 8123, 443]), ({}, [9092, 8123])],
)
def test_the_openid_provider_can_be_reached(config, opened):
    """Else every sign-in would end at a provider that is away."""
    given = {**values("front"), "config": config}
    given["networkPolicy"] = {"enabled": True, "egressPorts": [9092, 8123]}
    policy, *_ = kind(render(given), "NetworkPolicy")
    assert [one["port"] for one in policy["spec"]["egress"][-1]["ports"]] == opened


def test_pods_scale_on_cpu_and_memory_in_configurable_steps():
    """The right speed depends on the size of the state that a partition restores."""
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


def test_scaling_by_lag_reads_existing_metrics(known, missing):
    """A query without a series reads as no lag."""
    scaled = kind(render(values("secured")), "ScaledObject")
    assert scaled
    for one in scaled:
        (trigger,) = one["spec"]["triggers"]
        assert missing(trigger["metadata"]["query"], known) == set()
        assert "dia_append_lag_seconds" in trigger["metadata"]["query"]
        assert "event_time" not in trigger["metadata"]["query"], "late producers need no replica"
        for helpless in ("stopped", "waits"):
            assert f"dia_partition_{helpless}" in trigger["metadata"]["query"], "no replica helps"
    stateful = kind(render(values("secured")), "StatefulSet")
    assert not any("replicas" in one["spec"] for one in stateful), (
        "the StatefulSet must not set replicas beside a ScaledObject"
    )


@pytest.mark.parametrize(
    ("by", "config", "leaves"),
    [
        ("none", {}, None),
        ("cpu", {}, "1"),
        ("lag", {}, "1"),
        ("cpu", {"leave_group": 0}, "0"),
        ("none", {"leave_group": 1}, "1"),
    ],
)
def test_workers_leave_their_group_where_pods_may_not_return(by, config, leaves):
    """Partitions of a pod that was scaled away would stay unread for the session timeout."""
    documents = render({**values("plain"), "autoscaling": {"by": by}, "config": config})
    (workers,) = pods(kind(documents, "StatefulSet"))
    (container,) = workers["containers"]
    said = [one["value"] for one in container["env"] if one["name"] == "DIA_LEAVE_GROUP"]
    assert said == ([leaves] if leaves is not None else [])


def test_a_forecast_scales_beside_the_lag(known, missing):
    """What comes at nine each morning is known before; what no history foresees still shows as lag."""
    (scaled,) = kind(render(values("operators")), "ScaledObject")
    lag, predicted = (trigger["metadata"] for trigger in scaled["spec"]["triggers"])
    assert "dia_append_lag_seconds" in lag["query"]
    # Pods of a group whose name begins alike, and of another release, are not asked.
    assert len(re.findall(r'pod=~"[a-z-]+-\[0-9\]\+"', lag["query"])) == 3
    assert missing(predicted["query"], known) == set()
    assert predicted["query"].endswith("* 1.3 or vector(0)")
    assert predicted["threshold"] == "40000"


def test_every_secret_that_pods_mount_can_come_from_outside():
    """A Secret that is filled under another name leaves its pod waiting for ever."""
    documents = render(values("operators"))
    filled = {
        (one["spec"]["target"]["name"], datum["secretKey"])
        for one in kind(documents, "ExternalSecret")
        for datum in one["spec"]["data"]
    }
    mounted = {
        v["secret"]["secretName"] for p in pods(documents) for v in p["volumes"] if "secret" in v
    }
    assert {name for name, _ in filled} == mounted
    assert ("dia-tokens", "tokens.json") in filled


def test_an_upgrade_stops_at_its_partition():
    """The canary is compared with pods that run the former version."""
    (workers,) = [
        one
        for one in kind(render(values("operators")), "StatefulSet")
        if one["metadata"]["name"] == "dia-all"
    ]
    assert workers["spec"]["updateStrategy"]["rollingUpdate"] == {"partition": 2}
    for one in kind(render(values("plain")), "StatefulSet"):
        assert one["spec"]["updateStrategy"]["rollingUpdate"] == {"partition": 0}


def test_a_route_of_the_gateway_leads_to_the_port_of_the_edge():
    """An HTTPRoute names ports by number only."""
    documents = render(values("operators"))
    (route,) = kind(documents, "HTTPRoute")
    (backend,) = route["spec"]["rules"][0]["backendRefs"]
    service = next(
        s for s in kind(documents, "Service") if s["metadata"]["name"] == backend["name"]
    )
    assert backend["port"] == service["spec"]["ports"][0]["port"]


def test_alerts_go_the_same_ways_in_compose_and_in_a_cluster(root):
    """Two files say which receiver an alert has, and how often it repeats."""
    compose = yaml.safe_load((root / "docker/prometheus/alertmanager.yaml").read_text())
    (config,) = kind(render(values("operators")), "AlertmanagerConfig")
    route, expected = config["spec"]["route"], compose["route"]
    assert route["groupBy"] == expected["group_by"]
    assert (route["groupWait"], route["groupInterval"], route["repeatInterval"]) == (
        expected["group_wait"],
        expected["group_interval"],
        expected["repeat_interval"],
    )
    (critical,), (said,) = route["routes"], expected["routes"]
    assert critical["repeatInterval"] == said["repeat_interval"]
    assert [f'{m["name"]}{m["matchType"]}"{m["value"]}"' for m in critical["matchers"]] == said[
        "matchers"
    ]


@pytest.mark.parametrize(
    "change",
    [
        {"monitoring": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}},
        {"monitoring": {"alertmanagerConfig": {"enabled": True}}},
        {"externalSecrets": {"secrets": {"dia-kafka": {"password": {"key": "x"}}}}},
        {"edge": {"enabled": True, "tls": {"behindProxy": True}, "gateway": {"enabled": True}}},
        {
            "edge": {
                "enabled": True,
                "tls": {"existingSecret": "t"},
                "gateway": {"enabled": True, "host": "h", "parentRefs": [{"name": "g"}]},
            }
        },
    ],
    ids=["scraped twice", "no receiver", "no store", "no host", "TLS in the pod"],
)
def test_settings_of_operators_that_cannot_work_are_refused(change):
    """Each would be accepted by the API server, and do nothing or harm."""
    with pytest.raises(helm.HelmError):
        render({**values("plain"), "tokens": {"existingSecret": "t"}, **change})


def test_rules_and_dashboards_are_those_of_the_repository():
    """All ways to run dia use one set of files."""
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
