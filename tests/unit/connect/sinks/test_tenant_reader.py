"""A ClickHouse user of one tenant: which rows it may read, and by which names."""

from __future__ import annotations

import hashlib

import pytest

from agents.app import app
from streams.connect.sinks.tenant_reader import statements
from streams.core.errors import UsageError

TENANT = "o'hara \\ co"


def _made(*, cluster=False, alone=True, user="ohara", password="secret") -> list[str]:
    return statements(
        "dia", app.clickhouse_tables, TENANT, user, password, cluster=cluster, alone=alone
    )


def _granted(made: list[str]) -> set[str]:
    return {one.split()[3] for one in made if one.startswith("GRANT SELECT ON ")}


def test_each_table_has_its_policy_before_the_user_may_read_it():
    """Between a grant and its policy the user would see the rows of all tenants."""
    made = _made()
    tables = [name for name in _granted(made) if name.endswith("_local")]
    assert {"dia.m1_local", "dia.h1_local", "dia.d1_local", "dia.simulations_local"} <= {*tables}
    for table in tables:
        granted = made.index(f"GRANT SELECT ON {table} TO ohara")
        limited = made.index(
            f"CREATE ROW POLICY OR REPLACE ohara_rows ON {table} USING tenant = 'o\\'hara \\\\ co' "
            "AS RESTRICTIVE TO ohara"
        )
        others = made.index(
            f"CREATE ROW POLICY IF NOT EXISTS dia_everyone ON {table} USING 1 AS PERMISSIVE TO ALL"
        )
        assert others < limited < granted, "and others keep their rows"


def test_the_password_is_not_in_the_statements():
    """They are kept in files, shells and logs of servers."""
    [create] = [one for one in _made() if one.startswith("CREATE USER")]
    assert "secret" not in create
    assert hashlib.sha256(b"secret").hexdigest() in create
    assert "readonly = 2" in create


@pytest.mark.parametrize(
    ("servers", "views", "distributed"),
    [
        ({"alone": True}, True, False),
        ({"alone": False}, False, False),
        ({"alone": False, "cluster": True}, True, True),
    ],
)
def test_views_are_granted_only_where_the_policies_hold_in_them(servers, views, distributed):
    """Views over independent servers read a peer as the operator's user: they would show every tenant."""
    granted = _granted(_made(**servers))
    assert ({"dia.m1", "dia.minutes", "dia.simulations"} <= granted) is views
    assert ("dia.m1_all" in granted) is distributed
    assert not {name for name in granted if "dead_letters" in name or "ledger" in name}


@pytest.mark.parametrize("given", [{"user": "x; DROP"}, {"user": "1a"}, {"password": ""}])
def test_a_name_or_password_that_cannot_be_one_is_refused(given):
    """A name is part of a statement, and an empty password opens the user to everyone."""
    with pytest.raises(UsageError):
        _made(**given)
