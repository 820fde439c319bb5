"""The committed lists of the broker's jars, and of those that MirrorMaker needs beside them:
coordinates, sizes and sha256, no addresses.

``python -m streams.dev.local.jar_lock`` resolves the roots again, for another Kafka version; review
the difference."""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KAFKA_VERSION = "4.1.2"
SLF4J_BINDING = "org.apache.logging.log4j:log4j-slf4j-impl"
"""Without a binding the broker logs nothing. Its version is that of log4j-core."""

LOCK_FILE = Path(__file__).with_name("kafka.lock")
MIRROR_LOCK_FILE = Path(__file__).with_name("mirror.lock")
_HEADER = (
    "# sha256 bytes group:artifact:version, written by `python -m streams.dev.local.jar_lock`\n"
)


@dataclass(frozen=True, slots=True)
class Jar:
    """``coordinate`` is ``group:artifact:version``."""

    coordinate: str
    sha256: str
    size_bytes: int

    @property
    def file_name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def matches(self, path: Path) -> bool:
        try:
            if path.stat().st_size != self.size_bytes:
                return False
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def parse_lock(text: str) -> tuple[Jar, ...]:
    """Raises `ValueError`."""
    jars = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match line.split():
            case [sha256, size, coordinate] if len(sha256) == 64 and coordinate.count(":") == 2:
                jars.append(Jar(coordinate, sha256, int(size)))
            case _:
                raise ValueError(f"line {number} is not `sha256 bytes group:artifact:version`")
    return tuple(jars)


def render_lock(jars: Iterable[Jar]) -> str:
    lines = [f"{jar.sha256} {jar.size_bytes} {jar.coordinate}\n" for jar in jars]
    return _HEADER + "".join(sorted(lines, key=lambda line: line.split()[2]))


def read_lock(file: Path = LOCK_FILE) -> tuple[Jar, ...]:
    return parse_lock(file.read_text(encoding="utf-8"))


def _resolve_roots(context: Any) -> list[Any]:
    """Every artifact of the broker and its format tool at run time, without Connect of kafka-tools:
    40 jars that a broker never loads."""
    connect = context.project("org.apache.kafka", "connect-runtime")
    roots = [
        context.create_dependency(f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}"),
        context.create_dependency(f"org.apache.kafka:kafka-tools:{KAFKA_VERSION}", [connect]),
    ]
    inputs, transitive = context.resolver.resolve(roots)
    wanted = [dep for dep in transitive if dep.scope in ("compile", "runtime")]
    artifacts = [dep.artifact for dep in [*inputs, *wanted]]
    log4j = next(found for found in artifacts if found.artifactId == "log4j-core")
    # As a root, its parent's version table would downgrade kafka-clients.
    binding = context.create_dependency(f"{SLF4J_BINDING}:{log4j.version}")
    return [*artifacts, binding.artifact]


def _resolve_mirror(context: Any) -> list[Any]:
    """Every artifact of MirrorMaker 2 at run time."""
    root = context.create_dependency(f"org.apache.kafka:connect-mirror:{KAFKA_VERSION}")
    inputs, transitive = context.resolver.resolve([root])
    wanted = [dep for dep in transitive if dep.scope in ("compile", "runtime")]
    return [dep.artifact for dep in [*inputs, *wanted]]


def _lock_of(artifact: Any) -> Jar:
    path: Path = artifact.resolve()
    content = path.read_bytes()
    coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
    return Jar(coordinate, hashlib.sha256(content).hexdigest(), len(content))


def relock() -> tuple[Jar, ...]:
    """Resolve the roots over the network and rewrite the committed locks."""
    from jgo.maven import MavenContext  # noqa: PLC0415 - of the extra `local`, absent elsewhere

    with tempfile.TemporaryDirectory(prefix="dia-relock-") as folder:
        context = MavenContext(repo_cache=Path(folder))
        jars = tuple(_lock_of(jar) for jar in _resolve_roots(context))
        mirror = {_lock_of(jar) for jar in _resolve_mirror(context)}.difference(jars)
    LOCK_FILE.write_text(render_lock(jars), encoding="utf-8")
    MIRROR_LOCK_FILE.write_text(render_lock(mirror), encoding="utf-8")
    return (*jars, *mirror)


if __name__ == "__main__":
    locked = relock()
    total_bytes = sum(jar.size_bytes for jar in locked)
    sys.stderr.write(
        f"locked {len(locked)} jars, {total_bytes >> 20} MiB, in {LOCK_FILE.name} and {MIRROR_LOCK_FILE.name}\n"
    )
