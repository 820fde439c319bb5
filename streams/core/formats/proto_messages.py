"""The messages of a .proto file by message index path. Parses only ``package`` and the nesting of
``message`` blocks, so imports need not exist."""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORD = re.compile(
    r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[A-Za-z_][\w.]*|[{};]""", re.DOTALL
)
_NOT_CODE = ("//", "/*", '"', "'")

Path = tuple[int, ...]


def messages_of(text: str) -> Mapping[Path, str]:
    """Raises `ValueError` for unbalanced braces."""
    words = [word for word in _WORD.findall(text) if not word.startswith(_NOT_CODE)]
    package = ""
    found: dict[Path, str] = {}
    open_blocks: list[tuple[Path, str] | None] = []
    """per open brace its message, or None for another block"""
    counts: dict[Path, int] = {}
    for at, word in enumerate(words):
        if word == "{":
            open_blocks.append(_message_before(words, at, open_blocks, counts))
            if (message := open_blocks[-1]) is not None:
                path, name = message
                found[path] = name
        elif word == "}":
            if not open_blocks:
                raise ValueError("the .proto file closes a block that it does not open")
            open_blocks.pop()
        elif word == "package" and not open_blocks and words[at - 1 : at] in ([], [";"], ["}"]):
            package = words[at + 1]
    if open_blocks:
        raise ValueError("the .proto file ends inside a block")
    return {path: f"{package}.{name}" if package else name for path, name in found.items()}


def _message_before(
    words: list[str],
    at: int,
    open_blocks: list[tuple[Path, str] | None],
    counts: dict[Path, int],
) -> tuple[Path, str] | None:
    statement = at >= 2 and words[at - 2] == "message"
    begins = at < 3 or words[at - 3] in (";", "{", "}")
    outer = open_blocks[-1] if open_blocks else ((), "")
    if not (statement and begins) or outer is None:
        return None
    path, prefix = outer
    index = counts.get(path, 0)
    counts[path] = index + 1
    name = words[at - 1]
    return (*path, index), f"{prefix}.{name}" if prefix else name
