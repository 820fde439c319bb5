"""Result files: one JSON object each, written atomically."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from streams.core.errors import UsageError
from streams.dev.bench.report.machine import Machine

T = TypeVar("T")


def stem(started_at: str, machine: Machine) -> str:
    return f"{started_at[:19].replace(':', '')}-{machine.id[:8]}"


def save(record: msgspec.Struct, folder: Path, name: str) -> Path:
    """Raises `UsageError` for an unusable folder."""
    path = folder / f"{name}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(record)) + b"\n")
    except OSError as error:
        raise UsageError(
            f"results cannot be written to {folder}: {error.strerror}. Name another --output."
        ) from error
    return path


def load(path: Path, kind: type[T], format_number: int) -> T:
    """Raises `UsageError` for a file of another kind or format."""
    try:
        content = path.read_bytes()
        found = msgspec.json.decode(content, type=kind)
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}. Name a .json result."
        ) from error
    except msgspec.MsgspecError as error:
        raise UsageError(f"{path} is no result of `dia bench`: {error}.") from error
    theirs: Any = getattr(found, "format", format_number)
    if theirs != format_number:
        raise UsageError(
            f"{path} is in format {theirs}, this version reads format {format_number}. "
            "Run both benchmarks with one version."
        )
    return found
