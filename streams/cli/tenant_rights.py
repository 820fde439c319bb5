"""`dia query rights`: a ClickHouse user for one tenant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.invocation import invocation
from streams.core.words.naming import named

_Password = Annotated[
    Path, typer.Option(metavar="FILE", help="Holds the user's password; printed is its SHA-256.")
]


def register(group: typer.Typer) -> None:
    group.command("rights")(rights)


def rights(
    ctx: typer.Context,
    *,
    tenant: Annotated[str, typer.Option(metavar="ID", help="Whose rows the user reads.")],
    user: Annotated[str, typer.Option(metavar="NAME", help="The ClickHouse user to make.")],
    password_file: _Password,
) -> None:
    """Print the statements of a ClickHouse user that reads one tenant's rows; contacts no server.

    Run them on every server, as a user that may manage access: by row policies the user sees the
    tenant's rows of windows and of the app's tables, and no dead letter. Other users see what they
    saw, unless permissive policies of your own limit them: make those AS RESTRICTIVE first.

    Example: dia query rights --tenant acme --user acme --password-file acme.password
    """
    from streams.connect.sinks.clickhouse import require_shards
    from streams.connect.sinks.tenant_reader import EVERYONE, statements
    from streams.core.settings import secret_file

    run = invocation(ctx)
    settings, printer = run.settings, run.printer()
    require_shards(settings)
    password = secret_file.read("--password-file", str(password_file))
    cluster, alone = bool(settings.clickhouse_cluster), len(settings.shards()) == 1
    made = statements(
        *(settings.clickhouse_database, run.app.clickhouse_tables),
        *(named(tenant, "--tenant"), user, password),
        cluster=cluster,
        alone=alone,
    )
    print("".join(f"{statement};\n" for statement in made), end="")
    printer.say(
        f"The policy {EVERYONE} keeps the rows of users without a policy. Beside it, permissive policies "
        "of your own no longer limit their users: make them AS RESTRICTIVE before you run this."
    )
    if cluster:
        printer.say(
            f"The cluster {settings.clickhouse_cluster} needs a <secret>: without one, servers ask each "
            "other as another user, and the policies do not hold."
        )
    elif not alone:
        printer.say(
            "The views read the other servers as DIA_CLICKHOUSE_USER, where no policy of this user holds. So "
            "it gets the tables of each server (m1_local ...) and no view."
        )
