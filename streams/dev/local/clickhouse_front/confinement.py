"""Limits a statement to the shard's own tables and its peer shards.

A ClickHouse server confines ``file()`` and has grants for sources and constraints on settings; the
wheel's engine has none. So a statement is refused (291, as for a file outside the server's folder)
when it

- calls a function of `REACHING`; ``url()`` may name a peer (`streams.connect.sinks.view_source`);
- names a table engine outside `ENGINES`, or a dictionary source outside `SOURCES`;
- backs up to, or restores from, anything but a folder, which the engine confines to its own
  (`engine_config`), or a bucket that the collection `COLLECTION_OF_BACKUPS` names;
- attaches a table from a folder;
- names the database `FILE_SYSTEM`;
- raises a setting of `MAXIMA`.

A function is a name before a bracket, quoted or not. So a table or alias of such a name cannot
precede a bracket, nor can a quoted name with an escape."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from streams.dev.local.clickhouse_front.errors import (
    DATABASE_ACCESS_DENIED,
    SETTING_CONSTRAINT_VIOLATION,
    StatementFailed,
)

REACHING: Final = frozenset(
    {
        "arrowflight", "arrowstream", "azureblobstorage", "azureblobstoragecluster",
        "azurequeue", "bigquery", "cluster", "clusterallreplicas", "cosn", "deltalake",
        "deltalakeazure", "deltalakeazurecluster", "deltalakecluster", "deltalakelocal",
        "deltalakes3", "deltalakes3cluster", "eval", "executable", "file", "filecluster",
        "filesystem", "gcs", "hdfs", "hdfscluster", "hudi", "hudicluster", "iceberg",
        "icebergazure", "icebergazurecluster", "icebergcluster", "iceberghdfs",
        "iceberghdfscluster", "iceberglocal", "iceberglocalcluster", "icebergs3",
        "icebergs3cluster", "jdbc", "mongodb", "mysql", "odbc", "oss", "paimon",
        "paimonazure", "paimonazurecluster", "paimoncluster", "paimonhdfs",
        "paimonhdfscluster", "paimonlocal", "paimons3", "paimons3cluster", "postgresql",
        "prometheusquery", "prometheusqueryrange", "python", "redis", "remote",
        "remotesecure", "s3", "s3cluster", "sqlite", "urlcluster", "ytsaurus",
    }
)  # fmt: skip
"""functions that access anything but tables of this shard"""
ENGINES: Final = frozenset(
    {
        "atomic", "buffer", "dictionary", "distributed", "join", "log", "materializedview",
        "memory", "merge", "null", "ordinary", "set", "stripelog", "tinylog", "view",
    }
)  # fmt: skip
"""beside the MergeTree family"""
SOURCES: Final = frozenset({"clickhouse", "null"})
MAXIMA: Final[Mapping[str, int]] = {
    "max_memory_usage": 1 << 30,
    "max_memory_usage_for_user": 1 << 30,
    "max_execution_time": 300,
    "max_threads": 2,
    "max_insert_threads": 2,
    "max_result_bytes": 256 << 20,
    "http_max_tries": 2,
}
"""0, which the engine reads as no bound, exceeds each of them"""

FILE_SYSTEM: Final = "default"
"""the engine's database whose tables are files"""

COLLECTION_OF_BACKUPS: Final = "dia_backups"

_LOCAL_URL: Final = re.compile(rb"'https?://127\.0\.0\.1:[0-9]{1,5}(?:/[^']*)?'")
_COLLECTION: Final = re.compile(rb"dia_shard_[0-9]+")
_NUMBER: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")


class StatementToken(NamedTuple):
    """``name`` is a word or a quoted name in lower case, else ""."""

    name: str
    text: bytes


def check(tokens: Sequence[StatementToken]) -> None:
    """Raises `StatementFailed`."""
    backs_up = bool(tokens) and tokens[0].name in {"backup", "restore"}
    for at, token in enumerate(tokens):
        if not token.name:
            continue
        follows = tokens[at + 1].text if at + 1 < len(tokens) else b""
        if follows == b"(":
            if backs_up:
                _check_place(tokens, at)
            else:
                _check_call(tokens, at)
        elif follows == b"=" and token.name in MAXIMA and at + 2 < len(tokens):
            check_setting(token.name, tokens[at + 2].text.decode(errors="replace").strip("'"))
        _check_word(tokens, at, follows)


def check_setting(name: str, value: str) -> None:
    """Raises `StatementFailed` above the shard's limit."""
    most = MAXIMA.get(name)
    if most is not None and not (_NUMBER.fullmatch(value) and 0 < float(value) <= most):
        raise StatementFailed(
            SETTING_CONSTRAINT_VIOLATION,
            f"Setting {name} shouldn't be greater than {most}; requested: {value!r}.",
        )


def _check_word(tokens: Sequence[StatementToken], at: int, follows: bytes) -> None:
    match tokens[at].name:
        case "engine":
            _check_engine(tokens, at)
        case "attach" if any(one.name == "from" for one in tokens[at:]):
            raise _denied("ATTACH FROM a folder is not served here.")
        case "collection":
            for token in tokens[at:]:
                if b"://" in token.text and not _LOCAL_URL.fullmatch(token.text):
                    raise _denied("A named collection names addresses of this machine only.")
        case name if name == FILE_SYSTEM and follows == b".":
            raise _denied("The database default is the file system here.")
        case "use" if at == 0 and len(tokens) > 1 and tokens[1].name == FILE_SYSTEM:
            raise _denied("The database default is the file system here.")


def _check_place(tokens: Sequence[StatementToken], at: int) -> None:
    """``File('FOLDER')`` or ``S3(dia_backups, 'PREFIX')``."""
    rest = [token.text[:1] if token.text[:1] == b"'" else token.text for token in tokens[at + 2 :]]
    folder = tokens[at].name == "file" and rest[:2] == [b"'", b")"]
    bucket = tokens[at].name == "s3" and rest[:4] == [
        COLLECTION_OF_BACKUPS.encode(),
        b",",
        b"'",
        b")",
    ]
    if not folder and not bucket:
        raise _denied(f"A backup is in a folder, or in the bucket {COLLECTION_OF_BACKUPS}, here.")


def _check_call(tokens: Sequence[StatementToken], at: int) -> None:
    name = tokens[at].name
    if "\\" in name:
        raise _denied("The name of a function is written without escapes here.")
    if name in REACHING:
        raise _denied(f"{name}() reaches beyond this shard's tables.")
    if name == "url":
        parts = [token.text for token in tokens[at + 2 : at + 7]]
        sister = (
            len(parts) == 5
            and _COLLECTION.fullmatch(parts[0])
            and parts[1:4] == [b",", b"url", b"="]
            and _LOCAL_URL.fullmatch(parts[4])
        )
        if not sister:
            raise _denied("url() reads sister shards of this machine only.")
    if name == "source" and at + 2 < len(tokens) and tokens[at + 2].name not in SOURCES:
        raise _denied(f"A dictionary's source is one of {', '.join(sorted(SOURCES))}.")


def _check_engine(tokens: Sequence[StatementToken], at: int) -> None:
    rest = tokens[at + 1 : at + 3]
    named = rest[1:] if rest and rest[0].text == b"=" else rest
    name = named[0].name if named else ""
    if name and rest[0].text == b"=" and not (name.endswith("mergetree") or name in ENGINES):
        raise _denied(f"The table engine {name} reaches beyond this shard's tables.")


def _denied(sentence: str) -> StatementFailed:
    return StatementFailed(DATABASE_ACCESS_DENIED, sentence)
