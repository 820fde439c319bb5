"""The image and the composed stack: valid, hardened, and consistent with the code."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from streams.connect.sinks.migration import engine
from streams.core.settings import Settings, load
from streams.dev.local.wheels import REQUIRED

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
BIN = Path(sys.executable).parent
DOCKERFILE = (DOCKER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES = COMPOSE["services"]
PIN = re.compile(r"^([\w.-]+==[\w.+-]+)", re.MULTILINE)
ONE_SHOT = {"topics", "rights", "migrations"}


def _run(program, *arguments):
    done = subprocess.run(
        [BIN / program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _environment():
    """The worker's DIA_ variables: those of the image, overridden by Compose's."""
    image = dict(re.findall(r"(DIA_\w+)=(\S+)", DOCKERFILE))
    return {**image, **SERVICES["worker"]["environment"]}


def test_the_dockerfile_passes_its_linter():
    """The linter finds unpinned bases, lost signals and cached packages before a build."""
    code, said = _run("hadolint", DOCKER / "Dockerfile")
    assert code == 0, said


def test_a_bad_dockerfile_is_detected(tmp_path):
    """The linter must be able to fail."""
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("FROM ${PYTHON_IMAGE}", "FROM python"))
    code, said = _run("hadolint", tmp_path / "Dockerfile")
    assert code != 0
    assert "DL3006" in said


def test_the_compose_files_keep_to_their_specification():
    """A misspelt key would be an error on a user's machine."""
    spec = ("--builtin-schema", "vendor.compose-spec")
    files = DOCKER / "compose.yaml", DOCKER / "region.yaml"
    code, said = _run("check-jsonschema", *spec, *files)
    assert code == 0, said


def test_a_misspelt_key_is_detected(tmp_path):
    """The schema must be able to fail."""
    text = (DOCKER / "compose.yaml").read_text().replace("healthcheck:", "helthcheck:", 1)
    (tmp_path / "compose.yaml").write_text(text)
    spec = ("--builtin-schema", "vendor.compose-spec")
    assert _run("check-jsonschema", *spec, tmp_path / "compose.yaml")[0] != 0


def test_the_image_runs_unprivileged_and_receives_signals():
    """A numeric user, so that Kubernetes can verify it; no shell, so that SIGTERM reaches the
    process.
    """
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)
    assert 'ENTRYPOINT ["dia"]' in DOCKERFILE
    assert "STOPSIGNAL SIGTERM" in DOCKERFILE
    assert DOCKERFILE.index("USER 10001") < DOCKERFILE.index("ENTRYPOINT")


def test_the_image_is_built_from_the_lock_without_the_local_stack():
    """The tested versions are those that run; Kafka's runtime and chDB do not belong into a worker."""
    image = set(PIN.findall((DOCKER / "requirements.lock").read_text()))
    assert image <= set(PIN.findall((ROOT / "requirements.lock").read_text()))
    names = {pin.partition("==")[0] for pin in image}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in project["dependencies"]}
    assert needed <= names, "run make lock"
    assert not names & set(REQUIRED)
    lowest = int(re.search(r"3\.(\d+)", project["requires-python"])[1])
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert set(bases) == {"${PYTHON_IMAGE}"}
    assert (
        int(re.search(r"^ARG PYTHON_IMAGE=python:3\.(\d+)", DOCKERFILE, re.MULTILINE)[1]) >= lowest
    )


def test_the_build_backend_is_locked_too():
    """Otherwise a build would use whatever backend version the index has that day."""
    build = set(PIN.findall((DOCKER / "build.lock").read_text()))
    assert {pin.partition("==")[0] for pin in build} == {"uv-build"}
    assert build <= set(PIN.findall((ROOT / "requirements.lock").read_text()))
    assert "--no-build-isolation" in DOCKERFILE


PINNED = re.compile(r"[a-z/-]+:[\w.-]+@sha256:[0-9a-f]{64}")


def _images():
    """Each image that Compose pulls or builds upon, without variables of the user."""
    arguments = SERVICES["worker"]["build"]["args"]
    named = {service["image"] for service in SERVICES.values()} - {"dia"} | {*arguments.values()}
    return {re.fullmatch(r"\$\{[A-Z_]+:-(.+)\}", image)[1] for image in named}


def test_every_image_is_named_by_tag_and_digest():
    """A tag can be moved to other bytes; a digest cannot."""
    images = _images()
    assert [image for image in images if not PINNED.fullmatch(image)] == []
    assert set(re.findall(r"^ARG PYTHON_IMAGE=(.+)", DOCKERFILE, re.MULTILINE)) < images


def _pin(folder, answer):
    docker = folder / "bin" / "docker"
    docker.parent.mkdir(exist_ok=True)
    docker.write_text(f"#!/bin/sh\n{answer}\n")
    docker.chmod(0o700)
    path = {"PATH": f"{docker.parent}:/usr/bin:/bin"}
    done = subprocess.run(
        ["sh", folder / "pin_images.sh"], check=False, env=path, capture_output=True
    )
    return done.returncode, {name: (folder / name).read_text() for name in PINNING}


PINNING = ("compose.yaml", "region.yaml", "Dockerfile")


def test_digests_are_looked_up_again_by_a_script(tmp_path):
    """All of them or none: CI has not tested a partly updated stack."""
    for name in (*PINNING, "pin_images.sh"):
        (tmp_path / name).write_text((DOCKER / name).read_text())
    before = {name: (tmp_path / name).read_text() for name in PINNING}
    last = f'case "$*" in *{max(image.partition("@")[0] for image in _images())}*) exit 1;; esac'
    assert _pin(tmp_path, f"{last}\necho sha256:{'0' * 64}") == (4, before)
    code, after = _pin(tmp_path, f'[ "$1 $2" = "buildx imagetools" ] && echo sha256:{"7" * 64}')
    digits = {image.partition("sha256:")[2] for image in PINNED.findall("".join(after.values()))}
    assert (code, digits) == (0, {"7" * 64})
    restored = {name: re.sub("7{64}", "", text) for name, text in after.items()}
    assert restored == {name: re.sub("[0-9a-f]{64}", "", text) for name, text in before.items()}


def test_the_ignore_file_includes_every_source_of_the_image():
    """The ignore file excludes everything that it does not name."""
    allowed = re.findall(r"^!(\S+)", (DOCKER / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources == set(allowed)
    assert all((ROOT / source).exists() for source in sources)


def _left_out():
    ignored = (DOCKER / "Dockerfile.dockerignore").read_text()
    return re.findall(r"^(streams/\S+)$", ignored, re.MULTILINE)


def test_the_image_excludes_development_tools():
    """Generator, bench and simulation would be unused code to patch."""
    rooms = {f"streams/dev/{path.name}" for path in (ROOT / "streams/dev").iterdir()}
    folders = {name for name in rooms if (ROOT / name).is_dir() and "__" not in name}
    assert set(_left_out()) == folders - {"streams/dev/local"}


IN_THE_IMAGE = """
import importlib, pathlib, sys
root, left_out = pathlib.Path(sys.argv[1]), [name.replace("/", ".") for name in sys.argv[2:]]

class LeftOut:
    def find_spec(self, name, path=None, target=None):
        if name in left_out:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, LeftOut())
for folder in ("schemas", "streams", "tables", "agents"):
    for path in sorted((root / folder).rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        tests = name.startswith("streams.testing")
        if not tests and not name.startswith(tuple(left_out)) and not name.endswith("__main__"):
            importlib.import_module(name)
from streams.cli import main
assert main(["--help"]) == 0
sys.exit(main(["bench", "run"]))
"""


def test_the_image_runs_without_the_excluded_parts(tmp_path):
    """A command of an excluded part names the extra, instead of a missing module."""
    command = [sys.executable, "-c", IN_THE_IMAGE, str(ROOT), *_left_out()]
    environ = {"PATH": "/usr/bin:/bin", "DIA_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=200, check=False, env=environ
    )
    assert done.returncode == 2, done.stderr
    assert "is not part of a worker's image" in done.stderr


def test_the_worker_accepts_its_environment():
    """An unknown setting would end the worker at its start."""
    settings, _ = load(_environment())
    assert len(settings.shards()) == 2
    assert all(len(replicas) == 2 for replicas in settings.shards())


def test_ports_agree():
    """Exposed, probed and scraped port must be the one that the worker opens."""
    settings, _ = load(_environment())
    port = str(settings.http_port)
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert f"http://127.0.0.1:{port}/livez" in DOCKERFILE
    scraped = yaml.safe_load((DOCKER / "prometheus/prometheus.yaml").read_text())
    (target,) = scraped["scrape_configs"][0]["dns_sd_configs"]
    ours = [name for name, one in SERVICES.items() if "build" in one and name not in ONE_SHOT]
    assert (sorted(target["names"]), str(target["port"])) == (sorted(ours), port)


def test_the_console_has_the_address_of_the_workers():
    """Otherwise the console in its own container would show no worker."""
    settings, _ = load(_environment())
    assert SERVICES["console"]["environment"]["DIA_WORKERS_AT"] == f"worker:{settings.http_port}"


def test_a_worker_is_given_time_to_drain():
    """A worker that is killed before its deadline would repeat almost committed work."""
    grace_s = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace_s > Settings().drain_timeout_s + 10


def test_services_are_bounded_watched_and_on_loopback():
    """One service must neither starve the others nor be reachable from the network."""
    for name, service in SERVICES.items():
        assert service.get("deploy", {}).get("resources") or name in ONE_SHOT, name
        assert "healthcheck" in service or "build" in service, name
        assert "container_name" not in service
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), name
    worker = SERVICES["worker"]
    assert worker["read_only"]
    assert worker["cap_drop"] == ["ALL"]


def test_metrics_are_kept_for_the_objectives_and_alerts_have_a_receiver():
    """Without an Alertmanager no operator gets an alert."""
    services = COMPOSE["services"]
    assert "--storage.tsdb.retention.time=30d" in services["prometheus"]["command"]
    prometheus = yaml.safe_load((DOCKER / "prometheus/prometheus.yaml").read_text())
    [manager] = prometheus["alerting"]["alertmanagers"]
    for target in (one for config in manager["static_configs"] for one in config["targets"]):
        assert target.partition(":")[0] in services
    config = yaml.safe_load((DOCKER / "prometheus/alertmanager.yaml").read_text())
    receivers = {one["name"] for one in config["receivers"]}
    routes = [config["route"], *config["route"]["routes"]]
    assert {route["receiver"] for route in routes} <= receivers
    alerts = {path.stem for path in (DOCKER.parent / "ops/runbooks").glob("*.md")}
    named = re.findall(r"Dia\w+", (DOCKER / "prometheus/alertmanager.yaml").read_text())
    assert set(named) <= alerts


def test_mounted_files_and_secrets_exist_or_are_made():
    """Docker would mount an empty folder for a missing path without a message."""
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DOCKER / source).exists(), source
    for config in COMPOSE["configs"].values():
        assert (DOCKER / config["file"]).is_file()
    script = (DOCKER / "secrets.sh").read_text()
    made = re.search(r"for name in ([^;]+); do", script)[1].replace("\\", "").split()
    made += re.findall(r"cat >secrets/(\w+)", script)
    assert {secret["file"] for secret in COMPOSE["secrets"].values()} == {
        f"./secrets/{name}" for name in made
    }


def test_shards_and_replicas_are_those_of_the_cluster():
    """If the replicas of a shard do not know each other, each would store half of its rows."""
    settings, _ = load(_environment())
    tree = ET.parse(DOCKER / "clickhouse/cluster.xml").getroot()
    cluster = tree.find(f"remote_servers/{settings.clickhouse_cluster}")
    hosts = [[node.text for node in shard.iter("host")] for shard in cluster.iter("shard")]
    assert settings.shards() == [[f"http://{host}:8123" for host in group] for group in hosts]
    for number, group in enumerate(hosts):
        for host in group:
            assert SERVICES[host]["environment"]["SHARD"] == str(number)
        assert len({SERVICES[host]["environment"]["REPLICA"] for host in group}) == len(group)
    used = set(re.findall(r"\{(\w+)\}", engine("dia", "m1_local", replicated=True)))
    assert used == {macro.tag for macro in tree.find("macros")}
    keeper = ET.parse(DOCKER / "clickhouse/keeper.xml").getroot()
    assert tree.find("zookeeper/node/port").text == keeper.find("keeper_server/tcp_port").text


def test_dashboards_of_grafana_are_mounted():
    """Missing dashboards would not be noticed."""
    folder = DOCKER / "grafana/provisioning"
    (provider,) = yaml.safe_load((folder / "dashboards/dashboards.yaml").read_text())["providers"]
    mounts = dict(v.split(":")[:2] for v in SERVICES["grafana"]["volumes"])
    assert mounts["../ops/grafana/dashboards"] == provider["options"]["path"]
    sources = yaml.safe_load((folder / "datasources/datasources.yaml").read_text())["datasources"]
    boards = [yaml.safe_load(p.read_text()) for p in (ROOT / "ops/grafana/boards").glob("*.yaml")]
    assert {source["type"] for source in sources} == {board["source"] for board in boards}
    users = ET.parse(DOCKER / "clickhouse/users.xml").getroot().find("users")
    named = [
        source["jsonData"]["username"]
        for source in sources
        if "username" in source.get("jsonData", {})
    ]
    assert named == [users[0].tag]


@pytest.mark.parametrize("folder", ["docker", "ops"])
def test_every_variable_named_is_a_setting(folder):
    """Documents, charts and containers name variables; a worker refuses unknown ones."""
    known = {f"DIA_{name.upper()}" for name in Settings.__dataclass_fields__}
    for path in (ROOT / folder).rglob("*"):
        if path.parent.name in {"secrets", "__pycache__"} or path.suffix == ".lock":
            continue
        if path.is_file():
            named = set(re.findall(r"\bDIA_[A-Z0-9_]+[A-Z0-9]", path.read_text()))
            assert named <= known, path


def test_each_service_has_its_own_login_and_only_its_own_password():
    """A listening service must not have a password that can insert rows or create tables."""
    users = ET.parse(DOCKER / "clickhouse/users.xml").getroot().find("users")
    entrypoint = (DOCKER / "clickhouse/entrypoint.sh").read_text()
    made = (DOCKER / "secrets.sh").read_text()
    for name in ("worker", "console", "edge"):
        service = SERVICES[name]
        password = f"clickhouse_{name}_password"
        assert service["environment"]["DIA_CLICKHOUSE_USER"] == name
        assert service["environment"]["DIA_CLICKHOUSE_PASSWORD_FILE"] == f"/run/secrets/{password}"
        assert {one for one in service["secrets"] if "clickhouse" in one} == {password}
        assert users.find(name).find("password").attrib == {"from_env": f"{name.upper()}_PASSWORD"}
        assert f"{name.upper()}_PASSWORD=$(</run/secrets/{password})" in entrypoint
        assert re.search(rf"\b{password}\b", made)
        assert password in SERVICES["clickhouse-0-a"]["secrets"]
        assert service["environment"]["DIA_KAFKA_SASL_USER"] == f"dia-{name}"
        kafka = f"kafka_{name}_password"
        assert service["environment"]["DIA_KAFKA_SASL_PASSWORD_FILE"] == f"/run/secrets/{kafka}"
        assert {one for one in service["secrets"] if "kafka" in one} == {kafka}
        assert f'user_dia-{name}="$(cat secrets/{kafka})"' in made
    grants = {user.tag: " ".join(query.text for query in user.iter("query")) for user in users}
    assert "INSERT" in grants["worker"]
    for name in ("console", "edge", "reader"):
        assert not re.search(r"INSERT|ALTER|CREATE|DROP|ALL", grants[name])
    assert "dia.*" not in grants["edge"]
    # Servers refuse tables of system that no grant names; the local engine does not.
    asked = (ROOT / "streams/operate/capacity/measured.py").read_text()
    named = set(re.findall(r"\bsystem\.\w+", asked))
    assert named
    assert all(f"GRANT SELECT ON {table}" in grants["console"] for table in named)
