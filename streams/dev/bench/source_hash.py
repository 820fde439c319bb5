"""Which engine a record was made with: a hash of the source it ran, the bench's own left out."""

from __future__ import annotations

from pathlib import Path

from xxhash import xxh3_64

PACKAGES = ("schemas", "streams", "tables", "agents")
NOT_MEASURED = ("streams/dev/bench/", "streams/cli/", "streams/dev/demo/", "streams/operate/audit/")
"""What only measures, asks or tells does not make an old figure stale."""


def source_hash(root: Path) -> str:
    """Of every module below ``root`` that can make the pipeline faster or slower."""
    digest = xxh3_64()
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(NOT_MEASURED):
                digest.update(f"{name}\0".encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
