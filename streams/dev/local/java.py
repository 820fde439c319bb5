"""The environment of the broker's Java, without the machine's settings for other Java programs."""

from __future__ import annotations

import os
from collections.abc import Mapping

OPTIONS = "LOCAL_KAFKA_JVM_OPTIONS"
"""Separated by blanks. They follow the broker's own: Java takes the last of two."""
_INHERITED = frozenset({"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"})

FLAGS = ("-Duser.language=en", "-Duser.country=US")
"""Kafka upper-cases names with the default locale, which Turkish does differently."""


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """With a UTF-8 locale, in which Java reads file names."""
    kept = {name: value for name, value in environ.items() if name not in _INHERITED}
    return {**kept, "LC_ALL": "C.UTF-8"}


def options(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    return (*FLAGS, *environ.get(OPTIONS, "").split())


def reason(output: str) -> str:
    """The line with an exception or error, else the last one that is neither banner nor stack
    trace."""
    lines = [
        line.strip()
        for line in output.splitlines()
        if line.strip() and not line.startswith(("Picked up ", "\t"))
    ]
    told = [line for line in lines if "Exception" in line or "Error" in line]
    return (told or lines[-1:] or ["it said nothing"])[0]
