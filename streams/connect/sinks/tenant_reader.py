"""The statements of a ClickHouse user that reads the rows of one tenant.

A row policy of a table holds for every query of its server that reads the table, through views too. It does
not hold in a query that another user sends to a peer: between independent servers, views read a peer as the
user of `DIA_CLICKHOUSE_USER`, so there the user gets the tables of each server and no view. Servers of a
cluster with a ``<secret>`` ask each other as the user of the query.

Dead letters and the ledger are left out: a dead letter's tenant is what a refused record claims."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from streams.connect.sinks.readable_views import READABLE
from streams.connect.sinks.view_source import WINDOWS
from streams.core.errors import UsageError
from streams.core.rows.clickhouse_table import ClickHouseTable, quoted
from streams.core.rows.operational_tables import OPERATIONAL

TENANT: Final = "tenant"
"""the column that the policies compare"""
EVERYONE: Final = "dia_everyone"
"""The policy of each table without which a server may show no row to users without a policy. ClickHouse shows
a row if one permissive policy does, so it also opens the table to users that permissive policies limit."""
LIMITS: Final = {
    "max_execution_time": 30,
    "max_memory_usage": 1 << 30,
    "max_result_rows": 100_000,
}
"""Bounds of one query, as those of the user ``reader`` in docker/clickhouse/users.xml."""

_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")


def tables_of_tenants(tables: Mapping[str, ClickHouseTable]) -> list[str]:
    """Names, without ``_local``, of the tables whose rows belong to a tenant each."""
    declared = [
        name
        for name, table in tables.items()
        if name not in OPERATIONAL and TENANT in table.columns
    ]
    return [*WINDOWS, *declared]


def condition(tenant: str) -> str:
    return f"{TENANT} = {quoted(tenant)}"


def statements(
    database: str, tables: Mapping[str, ClickHouseTable], tenant: str, user: str, password: str,
    *, cluster: bool, alone: bool,
) -> list[str]:  # fmt: skip
    """To run on every server, in this order, by a user with the right ``ACCESS MANAGEMENT``. They may be
    repeated. ``cluster``: the servers are of a ClickHouse cluster; ``alone``: there is one server.

    The password is in them as its SHA-256. Raises `UsageError` for a name or password that cannot be one."""
    if not _USER.fullmatch(user):
        raise UsageError(
            f'Invalid --user "{user}": use up to 63 letters, digits and _, with no digit first.'
        )
    if not password:
        raise UsageError("the password is empty: a user without one is open to everyone.")
    names = tables_of_tenants(tables)
    return [
        _create(user, password),
        *(each for name in names for each in _policies(f"{database}.{name}_local", tenant, user)),
        *(
            f"GRANT SELECT ON {database}.{name} TO {user}"
            for name in _readable(names, tables, cluster=cluster, alone=alone)
        ),
    ]


def _create(user: str, password: str) -> str:
    digest = hashlib.sha256(password.encode()).hexdigest()
    bounds = ", ".join(f"{name} = {most} MIN 1 MAX {most}" for name, most in LIMITS.items())
    said = f"IDENTIFIED WITH sha256_hash BY '{digest}' SETTINGS readonly = 2, {bounds}"
    return f"CREATE USER OR REPLACE {user} {said}"


def _policies(table: str, tenant: str, user: str) -> Iterator[str]:
    yield f"CREATE ROW POLICY IF NOT EXISTS {EVERYONE} ON {table} USING 1 AS PERMISSIVE TO ALL"
    yield (
        f"CREATE ROW POLICY OR REPLACE {user}_rows ON {table} USING {condition(tenant)} "
        f"AS RESTRICTIVE TO {user}"
    )


def _readable(
    names: Sequence[str], tables: Mapping[str, ClickHouseTable], *, cluster: bool, alone: bool
) -> Iterator[str]:
    yield from (f"{name}_local" for name in names)
    if cluster:
        yield from (f"{name}_all" for name in names)
    if cluster or alone:
        yield from names
        yield from (view for view in READABLE if view not in tables)
