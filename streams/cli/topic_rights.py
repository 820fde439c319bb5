"""`dia topics rights` and `dia topics grant`: least-privilege Kafka users."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.invocation import Invocation, invocation

if TYPE_CHECKING:
    from streams.operate.topics.rights import KafkaRole

_COLUMNS = ("role", "resource", "name", "match", "operations")

_Users = Annotated[
    list[str] | None,
    typer.Option(
        "--user",
        metavar="ROLE=NAME",
        help="The Kafka user of a role; default: APP for operator, APP-ROLE for the others.",
    ),
]


def register(group: typer.Typer) -> None:
    group.command("rights")(show)
    group.command("grant")(grant)


def show(
    ctx: typer.Context,
    *,
    strimzi: Annotated[
        bool, typer.Option("--strimzi", help="As Strimzi KafkaUser resources, in YAML.")
    ] = False,
    cluster: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the Strimzi Kafka cluster.")
    ] = "kafka",
    user: _Users = None,
) -> None:
    """Print the Kafka ACLs of each role of the app; contacts no broker.

    Roles: operator, worker, edge and console.

    Example: dia topics rights --strimzi --cluster kafka
    """
    from streams.operate.topics import strimzi as resources
    from streams.operate.topics.rights import KafkaRole, rights

    run = invocation(ctx)
    if strimzi:
        users = _users(run, user)
        documents = [
            resources.user(users[role], rights(run.topology, role), cluster) for role in KafkaRole
        ]
        print(resources.yaml(documents), end="")
        return
    run.printer().rows(
        _COLUMNS,
        [
            (role.value, right.resource, right.name, "prefix" if right.prefix else "literal",
             " ".join(right.operations))
            for role in KafkaRole
            for right in rights(run.topology, role)
        ],
    )  # fmt: skip


def grant(ctx: typer.Context, *, user: _Users = None) -> None:
    """Let the users of worker, edge and console do what their roles need, at the broker.

    Adds what lacks and takes nothing away. The users must exist; `operator` is granted only where
    --user names it, because its user already has these rights.

    Example: dia topics grant --user worker=acme-worker
    """
    from streams.operate.topics.rights import KafkaRole

    run = invocation(ctx)
    users = _users(run, user)
    named = {text.partition("=")[0] for text in user or ()}
    chosen = [role for role in KafkaRole if role is not KafkaRole.OPERATOR or role.value in named]
    asyncio.run(_grant(run, {role: users[role] for role in chosen}))


async def _grant(run: Invocation, users: dict[KafkaRole, str]) -> None:
    from streams.cli.clients import require_address
    from streams.connect.broker.kafka.broker import KafkaBroker
    from streams.operate.topics.rights import rights

    require_address(run.settings)
    admin = await KafkaBroker.from_settings(run.settings).admin()
    try:
        for role, name in users.items():
            wanted = rights(run.topology, role)
            await admin.grant(name, wanted)
            run.printer().say(f"User {name} has the {len(wanted)} rules of role {role.value}.")
    finally:
        await admin.close()


def _users(run: Invocation, named: list[str] | None) -> dict[KafkaRole, str]:
    """Raises `UsageError` for text without a role or user."""
    from streams.core.errors import UsageError
    from streams.operate.topics.rights import KafkaRole

    app = run.topology.app
    users = {
        role: app if role is KafkaRole.OPERATOR else f"{app}-{role.value}" for role in KafkaRole
    }
    for text in named or ():
        role, _, name = text.partition("=")
        if role not in {known.value for known in KafkaRole} or not name:
            raise UsageError(
                f"--user {text}: its form is ROLE=NAME; roles are {', '.join(KafkaRole)}."
            )
        users[KafkaRole(role)] = name
    return users
