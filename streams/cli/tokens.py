"""`dia token`: who may ask edges, consoles and pages, for what, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.connect.access.tokens import AccessToken, TokenFile

DAY_MS = 86_400_000

Days = Annotated[
    int | None, typer.Option(min=1, max=3650, help="Days until it expires; default: never.")
]
TokenId = Annotated[str, typer.Argument(metavar="ID", help="Of the list.")]


def register(app: typer.Typer) -> None:
    group = command_group("Create, list, rotate and revoke access tokens.")
    group.command()(create)
    group.command("list")(list_tokens)
    group.command()(rotate)
    group.command()(revoke)
    app.add_typer(group, name="token")


def create(
    ctx: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Option(help="The person or program that holds it; default: the user of the system."),
    ] = None,
    role: Annotated[str, typer.Option(help="read, operate (may post) or admin.")] = "operate",
    tenant: Annotated[
        str | None, typer.Option(help="The tenant it is bound to; only an admin has none.")
    ] = None,
    days: Days = None,
) -> None:
    """Create a token and print it once: only its hash is stored.

    Example: dia token create --name alice --tenant acme --days 90
    """
    from streams.cli.terminal.operator import actor_of
    from streams.connect.access.tokens import Role
    from streams.core.clock import SystemClock

    run = invocation(ctx)
    now_ms = SystemClock().now_ms()
    token, text = _file(run).create(
        tenant=tenant,
        role=Role.named(role),
        now_ms=now_ms,
        expires_ms=_end_ms(now_ms, days),
        name=actor_of(name),
    )
    _show(run, token, text)


@watchable
def list_tokens(ctx: typer.Context) -> None:
    """Every token, without its secret, and when it was last used.

    \b
    Edges, consoles and pages write the last use within a minute, in DIA_HOME. So the list knows the
    uses of processes that share this folder.

    Example: dia token list
    """
    from streams.connect.access.last_uses import LastUses

    run = invocation(ctx)
    file = _file(run)
    uses = LastUses.of(run.settings.home_path(), file).read()
    run.printer().rows(
        ("id", "name", "role", "tenant", "created", "expires", "last_used"),
        [
            (
                *(token.id, token.name, token.role, token.tenant or ""),
                *map(_moment, (token.created_ms, token.expires_ms, uses.get(token.id))),
            )
            for token in file.read()
        ],
    )


def rotate(
    ctx: typer.Context,
    token_id: TokenId,
    *,
    overlap: Annotated[
        str,
        typer.Option(metavar="SPAN", help="How long the old one stays valid, such as 6h or 7d."),
    ] = "24h",
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=3650, help="Days until it expires; default: as long as the old one."
        ),
    ] = None,
) -> None:
    """Create a new token of the same holder, role and tenant; the old one ends after the overlap.

    Example: dia token rotate 4f1c09ab --overlap 7d
    """
    from streams.core.clock import SystemClock
    from streams.core.words.moments import span_s

    run = invocation(ctx)
    now_ms, overlap_s = SystemClock().now_ms(), span_s(overlap, "--overlap")
    token, text = _file(run).rotate(
        token_id, now_ms=now_ms, overlap_s=overlap_s, expires_ms=_end_ms(now_ms, days)
    )
    _show(run, token, text)
    run.printer().say(
        f"{token_id} ends within {overlap}; `dia token revoke {token_id}` ends it now."
    )


def revoke(ctx: typer.Context, token_id: TokenId) -> None:
    """Revoke a token; running processes refuse it from the next request on.

    Example: dia token revoke 4f1c09ab
    """
    run = invocation(ctx)
    gone = _file(run).revoke(token_id)
    run.printer().say(f"revoked {gone.id} ({gone.role} of {gone.tenant or 'every tenant'}).")


def _show(run: Invocation, token: AccessToken, text: str) -> None:
    shown = {"id": token.id, "name": token.name, "role": token.role, "tenant": token.tenant or ""}
    run.printer().record({**shown, "expires": _moment(token.expires_ms), "token": text})
    run.printer().say("keep it now: it cannot be shown again.")


def _moment(at_ms: int | None) -> str:
    from streams.cli.terminal.payload import moment

    return "" if at_ms is None else moment(at_ms, "seconds")


def _end_ms(now_ms: int, days: int | None) -> int | None:
    return None if days is None else now_ms + days * DAY_MS


def _file(run: Invocation) -> TokenFile:
    from streams.connect.access.tokens import TokenFile

    return TokenFile.of(run.settings.home_path(), run.settings.tokens_file)
