"""The measurements, one entry per source file: scores.json."""

from __future__ import annotations

from pathlib import Path

import msgspec

_FILE = Path(__file__).with_name("scores.json")


class Score(msgspec.Struct, frozen=True):
    """``source`` is the digest of the file that was measured at ``commit``. Of ``mutants`` possible
    ones ``tried`` were run; ``survived`` and ``unreached`` (no test executes the line) are named.
    """

    source: str
    commit: str
    date: str
    mutants: int
    tried: int
    killed: int
    timeout: int
    survived: list[str]
    unreached: list[str]


def load() -> dict[str, Score]:
    """By path of the source file."""
    if not _FILE.exists():
        return {}
    return msgspec.json.decode(_FILE.read_bytes(), type=dict[str, Score])


def save(scores: dict[str, Score]) -> None:
    text = msgspec.json.format(msgspec.json.encode(dict(sorted(scores.items()))), indent=1)
    _FILE.write_bytes(text + b"\n")
