"""A cache of Kafka's classes, loaded and linked, which halves a broker's start. The JVM uses it
only with the version, jars and file dates with which it was written (JEP 483)."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path


def path_of(java: Path, class_path: str) -> Path:
    """Beside the jars."""
    digest = sha256((java.parent.parent / "release").read_bytes())
    jars = [Path(entry) for entry in class_path.split(os.pathsep)]
    for jar in jars:
        found = jar.stat()
        digest.update(f"{jar}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return jars[0].parent / f"classes-{digest.hexdigest()[:16]}.aot"


def flags(java: Path, class_path: str) -> tuple[str, ...]:
    """None without a cache."""
    try:
        cache = path_of(java, class_path)
    except OSError:
        return ()
    return (f"-XX:AOTCache={cache}",) if cache.exists() else ()
