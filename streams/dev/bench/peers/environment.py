"""Runtime of a peer: its own virtual environment, or compiled Java, created once per user in a
cache folder named by its contents."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from xxhash import xxh3_64_hexdigest

from streams.core.errors import CommandError
from streams.core.settings import default_home
from streams.dev.bench.children import output_of
from streams.dev.bench.peers.peers import Peer
from streams.dev.local import jars
from streams.dev.local.jar_lock import parse_lock, read_lock
from streams.dev.local.wheels import locate

INSTALL_TIMEOUT_S = 300.0
REQUIREMENTS = "requirements.txt"
JAR_LOCK = "jars.lock"
PROGRAM = "peer.py"
JAVA_MAIN = "Peer"
JAVA_HEAP_MAX = "4g"
JAVA_ACCESS = (
    "--enable-native-access=ALL-UNNAMED",
    "--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.management/sun.management=ALL-UNNAMED",
    "--add-opens=jdk.management/com.sun.management.internal=ALL-UNNAMED",
)
"""what engines ask for to be as fast as they can"""
_COMPLETE = "complete"
_COMPILER = "org.eclipse.jdt.internal.compiler.batch.Main"
"""a jar that runs on the wheel's runtime, without a JDK"""
_JAVA_RELEASE = "21"

Say = Callable[[str], None]


class Runnable(NamedTuple):
    """The command needs only the ``BENCH_*`` variables."""

    command: tuple[str, ...]
    version: str


def cache_folder(environ: Mapping[str, str]) -> Path:
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "dia" / "bench-peers"


async def prepare(peer: Peer, programs: Path, cache: Path, say: Say) -> Runnable:
    """Install what is missing; ``programs`` is tests/bench/peers. Raises `CommandError` or
    `DependencyUnreachable`."""
    folder = programs / peer.folder
    if (folder / JAR_LOCK).exists():
        return await _java(peer, folder, cache, say)
    return await _python(peer, folder, cache, say)


def version_of(peer: Peer, folder: Path) -> str:
    name = JAR_LOCK if (folder / JAR_LOCK).exists() else REQUIREMENTS
    pinned = re.search(
        rf"(?:^|:){re.escape(peer.package)}(?:==|:)(\S+)$",
        (folder / name).read_text(),
        re.MULTILINE,
    )
    return pinned.group(1) if pinned else "unknown"


async def _python(peer: Peer, folder: Path, cache: Path, say: Say) -> Runnable:
    requirements = (folder / REQUIREMENTS).read_text()
    home = _versioned(cache, peer, f"{sys.version}\n{requirements}")
    python = home / "bin" / "python"
    if not (home / _COMPLETE).exists():
        say(f"installing {peer.title} into a folder of its own, once")
        shutil.rmtree(home, ignore_errors=True)
        home.parent.mkdir(parents=True, exist_ok=True)
        await _run(peer, sys.executable, "-m", "venv", str(home))
        await _run(
            peer, str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--only-binary", ":all:", "-r", str(folder / REQUIREMENTS),
        )  # fmt: skip
        (home / _COMPLETE).touch()
    return Runnable((str(python), str(folder / PROGRAM)), version_of(peer, folder))


async def _java(peer: Peer, folder: Path, cache: Path, say: Say) -> Runnable:
    lock = (folder / JAR_LOCK).read_text()
    sources = _java_sources(folder)
    home = _versioned(cache, peer, lock + "".join(path.read_text() for path in sources))
    java = str(locate().java)
    brokers = jars.class_path(jars.cache_folder(os.environ, default_home()), read_lock())
    own = await asyncio.to_thread(jars.ensure, cache / "jars", say, parse_lock(lock))
    class_path = os.pathsep.join([own, brokers])
    if not (home / _COMPLETE).exists():
        say(f"compiling {peer.title}'s program, once")
        home.mkdir(parents=True, exist_ok=True)
        await _run(
            peer, java, "-cp", class_path, _COMPILER, "-source", _JAVA_RELEASE, "-target",
            _JAVA_RELEASE, "-nowarn", "-d", str(home), *map(str, sources),
        )  # fmt: skip
        (home / _COMPLETE).touch()
    command = (
        java, f"-Xmx{JAVA_HEAP_MAX}", *JAVA_ACCESS, "-Dlog4j2.level=error", "-cp",
        os.pathsep.join([str(home), class_path]), JAVA_MAIN,
    )  # fmt: skip
    return Runnable(command, version_of(peer, folder))


def _java_sources(folder: Path) -> list[Path]:
    """The program, and what all share."""
    return [folder / f"{JAVA_MAIN}.java", *sorted(folder.parent.glob("*.java"))]


def _versioned(cache: Path, peer: Peer, content: str) -> Path:
    return cache / f"{peer.folder}-{xxh3_64_hexdigest(content.encode())}"


async def _run(peer: Peer, *command: str) -> None:
    """Raises `CommandError` on failure or timeout."""
    what, silent = f"installing {peer.title}", asyncio.subprocess.DEVNULL
    try:
        await output_of(what, *command, limit_s=INSTALL_TIMEOUT_S, stderr=silent)
    except TimeoutError as error:
        raise CommandError(
            f"{peer.title} was not installed within {INSTALL_TIMEOUT_S:g} s."
        ) from error
