"""Kafka's classes, loaded and linked ahead of time: with them a broker starts in half the time.

The JVM takes such a cache only if its own version, the jars and their dates are the same as when
it was written (JEP 483); else it starts as if there were none. `class_training` writes it.
"""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path


def path_of(java: Path, class_path: str) -> Path:
    """Where the cache for this Java and these jars lies, or would: beside the jars."""
    digest = sha256((java.parent.parent / "release").read_bytes())
    jars = [Path(entry) for entry in class_path.split(os.pathsep)]
    for jar in jars:
        found = jar.stat()
        digest.update(f"{jar}\0{found.st_size}\0{found.st_mtime_ns}\0".encode())
    return jars[0].parent / f"classes-{digest.hexdigest()[:16]}.aot"


def flags(java: Path, class_path: str) -> tuple[str, ...]:
    """What to tell the JVM: the cache if there is one, nothing if not."""
    try:
        cache = path_of(java, class_path)
    except OSError:
        return ()
    return (f"-XX:AOTCache={cache}",) if cache.exists() else ()
