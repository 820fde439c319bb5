"""Which app a table of rows belongs to, as each server records it at the first `dia migrate apply`
(docs/protocols/outbox.md, "Targets").

Two apps that declare a table of one name in one database would write rows of the same keys, of
which ClickHouse keeps one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from streams.core.errors import RefusedBySafety

OWNER_LABEL: Final = "A__"
"""begins the labels of these records among those of migrations; then comes the table"""


class OwnedTables(NamedTuple):
    """Tables that no other app may have in the database."""

    app: str
    names: frozenset[str] = frozenset()


def label_of(table: str) -> str:
    return f"{OWNER_LABEL}{table}"


def refuse_anothers(own: OwnedTables, owners: Mapping[str, str], server: str) -> None:
    """``owners``: the recorded app of each table. Raises `RefusedBySafety`."""
    for name in sorted(own.names):
        owner = owners.get(name, own.app)
        if owner != own.app:
            raise RefusedBySafety(
                f"table {name} at {server} is of app {owner}: rows of app {own.app} would replace "
                "its rows. Give the table another name, or this app a database of its own "
                "(DIA_CLICKHOUSE_DATABASE)."
            )


def without_owner(own: OwnedTables, owners: Mapping[str, str]) -> Iterable[str]:
    return sorted(own.names - owners.keys())
