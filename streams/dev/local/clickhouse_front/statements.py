"""Parses a request's text: kind, output format, and the start of an INSERT's payload, which is
found without parsing rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from streams.dev.local.clickhouse_front import confinement
from streams.dev.local.clickhouse_front.confinement import StatementToken
from streams.dev.local.clickhouse_front.errors import NOT_IMPLEMENTED, SYNTAX_ERROR, StatementFailed

_TOKEN = re.compile(
    rb"""
      (?P<skip>   \s+ | --[^\n]* | \#[ !][^\n]* | /\*.*?\*/ )
    | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` )
    | (?P<word>   [A-Za-z_][A-Za-z0-9_]* )
    | (?P<open>   [(\[{] )
    | (?P<close>  [)\]}] )
    | (?P<other>  [0-9][A-Za-z0-9_.]* | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_TOKEN_GAP = re.compile(rb"(?:\s|;|--[^\n]*|/\*.*?\*/)*", re.DOTALL)
_AFTER_FORMAT = re.compile(rb"[ \t\r]*;?[ \t\r]*\n?")
_READS = frozenset({b"SELECT", b"WITH", b"SHOW", b"DESC", b"DESCRIBE", b"EXISTS", b"EXPLAIN"})
_NO_PAYLOAD = frozenset({b"SELECT", b"WITH", b"VALUES", b"WATCH"})
_HEAD_BYTES = 1 << 20
"""A statement's FORMAT clause is within this many bytes of its start."""


class StatementKind(Enum):
    """Only SELECT streams in chDB; only an INSERT has a payload."""

    SELECT = "select"
    READ = "read"
    INSERT = "insert"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Insert:
    """``INSERT INTO target settings FORMAT input_format``, and its rows."""

    target: str
    settings: str
    input_format: str
    payload: memoryview

    def from_file(self, path: str) -> str:
        """With its rows in a file of the server."""
        return (
            f"{self.target} FROM INFILE '{path}' COMPRESSION 'none' "
            f"{self.settings} FORMAT {self.input_format}"
        )


@dataclass(frozen=True, slots=True)
class Statement:
    """``text``, or ``insert`` where ``kind`` is INSERT."""

    kind: StatementKind
    text: str = ""
    output_format: str | None = None
    insert: Insert | None = None


def parse(query: bytes, body: bytes) -> Statement:
    """``query`` from the URL or a form field, ``body`` as received. Raises `StatementFailed`
    without a statement, and as `confinement.check`."""
    text = query + b"\n" + body if query and body else query or body
    head = query or body[:_HEAD_BYTES]
    first = next(_words(head), None)
    if first is None and not text.strip(b"; \t\r\n"):
        raise StatementFailed(SYNTAX_ERROR, "Empty query.")
    if first is not None and first.name == b"INSERT":
        return _insert(query, body, text)
    kind = _kind(first)
    words = list(_words(text))
    _refuse_files(words)
    confinement.check(_tokens(text))
    return Statement(kind, text.decode(errors="surrogateescape"), _output_format(words, text))


@dataclass(frozen=True, slots=True)
class _Word:
    name: bytes
    start: int
    end: int


def _words(text: bytes) -> Iterator[_Word]:
    """Upper-case words outside brackets, strings, quoted names and comments. A bracket that opens
    the text is the word ``(``."""
    depth = 0
    seen = False
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "skip":
            continue
        if kind == "open":
            if not seen:
                yield _Word(b"(", token.start(), token.end())
            depth += 1
        elif kind == "close":
            depth -= 1
        elif kind == "word" and depth == 0:
            yield _Word(token.group().upper(), token.start(), token.end())
        seen = True


def _tokens(text: bytes) -> list[StatementToken]:
    found = []
    for token in _TOKEN.finditer(text):
        part = token.group()
        if token.lastgroup == "word":
            found.append(StatementToken(part.decode().lower(), part))
        elif token.lastgroup == "quoted" and not part.startswith(b"'"):
            found.append(StatementToken(part[1:-1].decode(errors="replace").lower(), part))
        elif token.lastgroup != "skip":
            found.append(StatementToken("", part))
    return found


def _kind(first: _Word | None) -> StatementKind:
    if first is None:
        return StatementKind.COMMAND
    if first.name in {b"SELECT", b"WITH"}:
        return StatementKind.SELECT
    return (
        StatementKind.READ if first.name in _READS or first.name == b"(" else StatementKind.COMMAND
    )


def _insert(query: bytes, body: bytes, text: bytes) -> Statement:
    head = query or body[:_HEAD_BYTES]
    words = _words(head)
    settings: int | None = None
    for word in words:
        if word.name == b"SETTINGS":
            settings = word.start
        if word.name in _NO_PAYLOAD:
            break
        if word.name == b"INFILE":
            _refuse_files([_Word(b"FROM", 0, 0), word])
        if word.name == b"FORMAT":
            name = next(words, None)
            if name is None:
                raise StatementFailed(SYNTAX_ERROR, "FORMAT names no format.")
            if name.name == b"VALUES":
                break
            rest = _AFTER_FORMAT.match(head, name.end)
            cut = rest.end() if rest else name.end
            confinement.check(_tokens(head[: word.start]))
            settings = word.start if settings is None else settings
            insert = Insert(
                target=head[:settings].decode(),
                settings=head[settings : word.start].decode(),
                input_format=head[name.start : name.end].decode(),
                payload=memoryview(body) if query else memoryview(body)[cut:],
            )
            return Statement(StatementKind.INSERT, insert=insert)
    confinement.check(_tokens(text))
    return Statement(StatementKind.COMMAND, text.decode(errors="surrogateescape"))


def _output_format(words: list[_Word], text: bytes) -> str | None:
    """Of a closing FORMAT clause; only SETTINGS may follow it. ``format`` is also a function and a
    valid column name."""
    for i in range(len(words) - 2, -1, -1):
        word, name, follows = words[i], words[i + 1], words[i + 2 : i + 3]
        if word.name != b"FORMAT" or _TOKEN_GAP.fullmatch(text, word.end, name.start) is None:
            continue
        if follows and follows[0].name == b"SETTINGS":
            return text[name.start : name.end].decode()
        if not follows and _TOKEN_GAP.fullmatch(text, name.end):
            return text[name.start : name.end].decode()
    return None


def _refuse_files(words: list[_Word]) -> None:
    for word, name in itertools.pairwise(words):
        if (word.name, name.name) in {(b"INTO", b"OUTFILE"), (b"FROM", b"INFILE")}:
            msg = f"{word.name.decode()} {name.name.decode()} is not served over HTTP."
            raise StatementFailed(NOT_IMPLEMENTED, msg)
