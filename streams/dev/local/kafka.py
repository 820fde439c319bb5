"""Apache Kafka as KRaft nodes, broker and controller in one JVM each, loopback only.

A broker runs in its log folder with relative paths, because Kafka splits folder lists at commas and
Log4j reads a path as a URI and a pattern."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from streams.core.errors import DependencyUnreachable
from streams.core.process.atomic_file import write_atomically
from streams.dev.local import class_cache
from streams.dev.local.folder import StackFolder
from streams.dev.local.java import environment, reason
from streams.dev.local.java import options as java_options
from streams.dev.local.plan import StackPlan
from streams.dev.local.ports import LOOPBACK
from streams.dev.local.probes import kafka_serves
from streams.dev.local.service import Service

HEAP_MAX = "512m"
FORMAT_TIMEOUT_S = 60
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
STOP_TOGETHER_TIMEOUT_S = 6.0

_PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # a misspelt topic must be an error, not a new topic
    "auto.create.topics.enable": "false",
    # The defaults (50 each) cost a second per start and hundreds of open files.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # A single developer's group has no other member to wait for.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "6000",
    # A broker killed with -9 rejoins when its last session has expired (default 9 s).
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    # The controller writes a record whenever it was idle for so long (default 0.5 s): most of the
    # CPU of an idle broker.
    "metadata.max.idle.interval.ms": "10000",
    # An abandoned transaction blocks the last stable offset until it is aborted.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # The default is 128 MiB of a heap of 512.
    "log.cleaner.dedupe.buffer.size": "8388608",
    # Deletion frees whole segments.
    "log.segment.bytes": "134217728",
    # Preallocated twice per partition; still indexes a whole segment.
    "log.index.size.max.bytes": "1048576",
    "num.network.threads": "2",
    "num.io.threads": "4",
}

_REPLICAS = 3
"""of each partition, with enough brokers"""

_LOGGING = """\
status = warn
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {log}
appender.file.filePattern = {log}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %m (%c)%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 16MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = info
rootLogger.appenderRef.file.ref = file
"""


def render_properties(plan: StackPlan, index: int, data: Path) -> str:
    """``data`` holds its log segments."""
    broker = plan.brokers[index]
    listens = f"PLAINTEXT://{LOOPBACK}:{broker.port}"
    voters = (f"{_node_id(i)}@{b.controller_address}" for i, b in enumerate(plan.brokers))
    addresses = {
        "node.id": str(_node_id(index)),
        "listeners": f"{listens},CONTROLLER://{LOOPBACK}:{broker.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{broker.address}",
        "controller.quorum.voters": ",".join(voters),
        "log.dirs": str(data),
    }
    return rendered({**_PROPERTIES, **_replication(len(plan.brokers)), **addresses})


def rendered(entries: Mapping[str, str]) -> str:
    """A file in Java's properties format."""
    return "".join(f"{name}={_escape(value)}\n" for name, value in entries.items())


def logging(file: str) -> str:
    """Log4j's properties, which write into ``file`` of the process's folder."""
    return _LOGGING.format(log=file)


def _node_id(index: int) -> int:
    return index + 1


def _replication(brokers: int) -> dict[str, str]:
    """Copies of partitions, and the minimum in sync for an acknowledgement."""
    copies = min(_REPLICAS, brokers)
    in_sync = max(1, copies - 1)
    return {
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(in_sync),
        "unclean.leader.election.enable": "false",
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(in_sync),
    }


def _escape(value: str) -> str:
    """Java's properties format: Latin-1, a backslash starts an escape, leading blanks are
    dropped."""
    units = value.encode("utf-16-be")
    codes = [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]
    return "".join(
        chr(code) if 0x20 < code < 0x7F and chr(code) != "\\" else f"\\u{code:04x}"
        for code in codes
    )


def prepare(folder: StackFolder, plan: StackPlan, java: Path, class_path: str) -> None:
    """Format each empty storage. Raises `DependencyUnreachable` with the last line of a failed
    format tool."""
    for index, name in enumerate(plan.broker_names):
        place = folder.broker(name)
        place.mkdir(exist_ok=True)
        properties = render_properties(plan, index, _from_logs(place / "data"))
        write_atomically(properties_file(place), properties.encode())
        write_atomically(_logging_file(place), logging(folder.log(name).name).encode())
        if not (place / "data" / "meta.properties").exists():  # the last file that format writes
            _format(folder, place, command(place, java, class_path), plan.cluster_id)


def _from_logs(path: Path) -> Path:
    return Path("..", *path.parts[-2:])


def properties_file(place: Path) -> Path:
    return place / "server.properties"


def _logging_file(place: Path) -> Path:
    return place / "log4j2.properties"


def command(place: Path, java: Path, class_path: str) -> tuple[str, ...]:
    """Starts a Java program of Kafka for the broker in folder ``place``, to run in the log
    folder."""
    return (
        str(java),
        f"-Xms{HEAP_MAX}",
        f"-Xmx{HEAP_MAX}",
        # With the default collector a request of a megabyte is humongous in this small heap, which
        # at times doubled the broker's CPU.
        "-XX:+UseSerialGC",
        # A local broker rarely lives long enough for the optimizing compiler to pay off.
        "-XX:TieredStopAtLevel=1",
        *java_options(),
        *class_cache.flags(java, class_path),
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={_from_logs(_logging_file(place))}",
        "-cp",
        class_path,
    )


def _format(folder: StackFolder, place: Path, java: tuple[str, ...], cluster_id: str) -> None:
    tool = (*java, "kafka.tools.StorageTool", "format", "--ignore-formatted")
    try:
        done = subprocess.run(
            # one argument: an id may begin with a dash
            [
                *tool,
                f"--cluster-id={cluster_id}",
                "--config",
                str(_from_logs(properties_file(place))),
            ],
            env=environment(),
            cwd=folder.logs,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FORMAT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    else:
        if done.returncode == 0:
            return
        why = reason(f"{done.stdout}\n{done.stderr}")
    msg = (
        f"Kafka's storage in {place} cannot be formatted: {why}. "
        "Correct that and run `dia up` again."
    )
    raise DependencyUnreachable(msg)


def services(
    folder: StackFolder, plan: StackPlan, java: Path, class_path: str
) -> tuple[Service, ...]:
    """They stop last, after all committing clients. Only a single broker gets time for a clean
    stop: several stopped at once cannot hand over their partitions."""
    alone = len(plan.brokers) == 1
    return tuple(
        Service(
            name=name,
            address=broker.address,
            argv=(
                *command(folder.broker(name), java, class_path),
                "kafka.Kafka",
                str(_from_logs(properties_file(folder.broker(name)))),
            ),
            log=folder.log(name),
            serves=partial(kafka_serves, broker.port),
            stop_rank=1,
            ready_timeout_s=READY_TIMEOUT_S,
            stop_timeout_s=STOP_TIMEOUT_S if alone else STOP_TOGETHER_TIMEOUT_S,
        )
        for name, broker in zip(plan.broker_names, plan.brokers, strict=True)
    )
