"""The bytes of a record as JSON fields: text, document, hexadecimal."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

SHOWN_BYTES: Final = 64 << 10
_ROW_BYTES: Final = 16


def decoded(raw: bytes | None) -> dict[str, Any]:
    """``text`` if it is UTF-8, and ``json`` if that is a document; else null."""
    try:
        text = None if raw is None else raw.decode()
    except UnicodeDecodeError:
        text = None
    return {"text": None if text is None else text[:SHOWN_BYTES], "json": _document(text)}


def _document(text: str | None) -> Any:
    try:
        found = None if text is None else json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return found


def _no_number(word: str) -> None:
    raise ValueError(f"{word} is not valid JSON")


def hexadecimal(raw: bytes | None) -> dict[str, Any]:
    """The first `SHOWN_BYTES` in rows of 16: address, hexadecimal, ASCII."""
    head = (raw or b"")[:SHOWN_BYTES]
    rows = []
    for at in range(0, len(head), _ROW_BYTES):
        row = head[at : at + _ROW_BYTES]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append({"at": at, "hex": row.hex(" "), "text": text})
    return {"hex": rows, "hex_complete": len(head) == len(raw or b"")}


def named_bytes(name: str, raw: bytes) -> dict[str, Any]:
    """A header: ``value``, or ``value_base64`` where it is not UTF-8."""
    try:
        return {"name": name, "value": raw.decode()}
    except UnicodeDecodeError:
        return {"name": name, "value": None, "value_base64": base64.b64encode(raw).decode()}
