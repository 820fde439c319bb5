"""The environment of the local broker's Java: what a machine sets for other Java programs (a
collector, a heap, a language) must neither break the broker nor decide how it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping

OPTIONS = "LOCAL_KAFKA_JVM_OPTIONS"
"""Options for the local broker alone, separated by blanks. They stand behind the broker's own: of
two values of one option Java takes the last."""
_INHERITED = frozenset({"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"})

FLAGS = ("-Duser.language=en", "-Duser.country=US")
"""Kafka upper-cases names of its own with the default locale, which Turkish does otherwise."""


def environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``environ`` for a Java process. Its locale is UTF-8, in which Java reads names of files."""
    kept = {name: value for name, value in environ.items() if name not in _INHERITED}
    return {**kept, "LC_ALL": "C.UTF-8"}


def options(environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What to tell the JVM besides the broker's own flags."""
    return (*FLAGS, *environ.get(OPTIONS, "").split())


def reason(output: str) -> str:
    """Why a Java program failed: the line that names an exception or an error, else the last one
    that is neither a banner nor a step of a stack trace."""
    lines = [
        line.strip()
        for line in output.splitlines()
        if line.strip() and not line.startswith(("Picked up ", "\t"))
    ]
    told = [line for line in lines if "Exception" in line or "Error" in line]
    return (told or lines[-1:] or ["it said nothing"])[0]
