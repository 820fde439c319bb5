"""Detects the encoding of a text: UTF-8 is read, with or without a byte-order mark (RFC 8259, 8.1);
UTF-16 and UTF-32 are named in the error."""

from __future__ import annotations

import codecs

HEAD_BYTES = 4
"""needed to detect an encoding"""

_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def without_mark(text: bytes) -> bytes:
    return text.removeprefix(codecs.BOM_UTF8)


def foreign_encoding(text: bytes) -> str | None:
    """UTF-16 or UTF-32, else None: JSON begins with an ASCII character, whose other bytes are
    zero."""
    for mark, name in _MARKS:
        if text.startswith(mark):
            return name
    head = text[:HEAD_BYTES]
    if len(head) < 2 or head.count(0) == len(head):
        return None
    if head[0] and not head[1]:
        return "UTF-32" if head[1:] == bytes(3) else "UTF-16"
    if not head[0] and head[-1]:
        return "UTF-32" if head[:-1] == bytes(3) else "UTF-16" if head[1] else None
    return None
