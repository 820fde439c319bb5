"""Untrusted text, made safe for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """On one line, with escaped control characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def lines_printable(text: str) -> str:
    """With its line ends, each line as `printable`."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))
