"""Untrusted bytes and times, made safe for a terminal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

from streams.core.words.printable import printable

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HEX_BYTES = 16
SHOWN_BYTES = 16 << 10
"""of one value; `dia dlq export` prints all of it"""


def moment(at_ms: int, timespec: str = "milliseconds") -> str:
    """ISO 8601 in UTC; the number itself when it is outside the calendar."""
    try:
        found = _EPOCH + timedelta(milliseconds=at_ms)
    except OverflowError:
        return str(at_ms)
    return found.isoformat(timespec=timespec).replace("+00:00", "Z")


def shown(raw: bytes | None) -> str:
    """A key or a header, on one line: text, or 0x and hexadecimal."""
    if raw is None:
        return "none"
    try:
        return printable(raw.decode())
    except UnicodeDecodeError:
        return f"0x{raw.hex()}"


def document(raw: bytes | None) -> tuple[str, list[str]]:
    """(format, lines): indented JSON, text, or a hexadecimal dump."""
    if raw is None:
        return "none", []
    head = raw[:SHOWN_BYTES]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "bytes", _dump(head)
    try:
        lines = json.dumps(json.loads(text), indent=2, ensure_ascii=False).splitlines()
    except (ValueError, RecursionError):
        lines = text[:SHOWN_BYTES].splitlines()
        return "text", [printable(line) for line in lines]
    return "JSON", [printable(line) for line in _within(lines)]


def _within(lines: list[str]) -> list[str]:
    total = 0
    for index, line in enumerate(lines):
        total += len(line)
        if total > SHOWN_BYTES:
            return [*lines[:index], "..."]
    return lines


def _dump(raw: bytes) -> list[str]:
    lines = []
    for at in range(0, len(raw), _HEX_BYTES):
        row = raw[at : at + _HEX_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        lines.append(f"{at:08x}  {row.hex(' '):<{3 * _HEX_BYTES}} {text}")
    return lines
