"""MirrorMaker 2 on the Java runtime and jars of the local stack: one process, for one region."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from streams.core.process.atomic_file import write_atomically
from streams.core.process.file_modes import private_folder
from streams.dev.local import jars, kafka
from streams.dev.local.jar_lock import MIRROR_LOCK_FILE, read_lock
from streams.dev.local.java import environment
from streams.dev.local.java import options as java_options
from streams.dev.local.wheels import locate

MAIN = "org.apache.kafka.connect.mirror.MirrorMaker"
HEAP_MAX = "512m"


def command(home: Path, properties: Mapping[str, str], progress: jars.Progress) -> list[str]:
    """The command that runs a mirror with ``properties``, in folder HOME/mirror, which has its log.

    Raises `DependencyUnreachable` where its jars cannot be had."""
    wheels = locate()
    place = home.absolute() / "mirror"
    private_folder(place)
    wanted = (*read_lock(), *read_lock(MIRROR_LOCK_FILE))
    class_path = jars.ensure(jars.cache_folder(os.environ, home), progress, wanted)
    write_atomically(place / "mm2.properties", kafka.rendered(properties).encode())
    write_atomically(place / "log4j2.properties", kafka.logging("mirror.log").encode())
    return [
        str(wheels.java),
        f"-Xmx{HEAP_MAX}",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        *java_options(),
        "-Djava.awt.headless=true",
        "-Dlog4j2.configurationFile=log4j2.properties",
        "-cp",
        class_path,
        MAIN,
        "mm2.properties",
    ]


def become(home: Path, argv: list[str]) -> None:
    """Replace this process by the mirror, in its folder: Log4j and Java's class path take relative
    names. Never returns."""
    os.chdir(home.absolute() / "mirror")
    os.execve(argv[0], argv, environment())  # noqa: S606 - of this module's own words
