"""`dia edge`: events over HTTP, and the access tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.listening import BehindTls, TlsCert, TlsKey, listening_of

if TYPE_CHECKING:
    from streams.connect.access.tokens import TokenFile

DAY_MS = 86_400_000


def register(app: typer.Typer) -> None:
    group = command_group("Events over HTTP, and the tokens for it.")
    tokens = command_group("Create, list and revoke access tokens.")
    tokens.command()(create)
    tokens.command("list")(list_tokens)
    tokens.command()(revoke)
    group.command()(serve)
    group.add_typer(tokens, name="token")
    app.add_typer(group, name="edge")


def serve(
    ctx: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Default: DIA_EDGE_HOST, loopback.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Default: DIA_EDGE_PORT; 0: any.")
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    behind_tls: BehindTls = False,
) -> None:
    """Take events over HTTP until SIGTERM. Kafka may be away: events then wait on disk.

    \b
    dia edge token create --tenant acme
    dia edge serve --port 8480
    curl -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/x-ndjson" \\
         --data-binary @events.jsonl http://127.0.0.1:8480/v1/events/model.metrics

    Example: dia edge serve --port 8480
    """
    from streams.cli.clients import require_address
    from streams.core.telemetry.logs import configure
    from streams.http.edge.serving import serve as serve_edge

    run = invocation(ctx)
    settings = run.settings
    address = listening_of(
        host or settings.edge_host,
        settings.edge_port if port is None else port,
        *(tls_cert, tls_key),
        behind_tls=behind_tls,
    )
    configure(settings.log_format, settings.log_level)
    require_address(settings)
    serve_edge(settings, run.topology, address, run.printer().say)


def create(
    ctx: typer.Context,
    *,
    role: Annotated[str, typer.Option(help="read, operate (may post) or admin.")] = "operate",
    tenant: Annotated[
        str | None, typer.Option(help="The tenant it is bound to; only an admin has none.")
    ] = None,
    days: Annotated[
        int | None, typer.Option(min=1, max=3650, help="Days until it expires; default: never.")
    ] = None,
) -> None:
    """Create a token and print it once: only its hash is stored.

    Example: dia edge token create --tenant acme --days 90
    """
    from streams.connect.access.tokens import Role
    from streams.core.clock import SystemClock

    run = invocation(ctx)
    now_ms = SystemClock().now_ms()
    token, text = _file(run).create(
        tenant=tenant,
        role=Role.named(role),
        now_ms=now_ms,
        expires_ms=None if days is None else now_ms + days * DAY_MS,
    )
    run.printer().record(
        {"id": token.id, "role": token.role, "tenant": token.tenant or "", "token": text}
    )
    run.printer().say("keep it now: it cannot be shown again.")


def list_tokens(ctx: typer.Context) -> None:
    """Every token, without its secret.

    Example: dia edge token list
    """
    from streams.cli.terminal.payload import moment

    run = invocation(ctx)
    run.printer().rows(
        ("id", "role", "tenant", "created", "expires"),
        [
            (
                token.id,
                token.role,
                token.tenant or "",
                moment(token.created_ms, "seconds"),
                "" if token.expires_ms is None else moment(token.expires_ms, "seconds"),
            )
            for token in _file(run).read()
        ],
    )


def revoke(
    ctx: typer.Context, token_id: Annotated[str, typer.Argument(metavar="ID", help="Of the list.")]
) -> None:
    """Revoke a token; a running edge refuses it from the next request on.

    Example: dia edge token revoke 4f1c09ab
    """
    run = invocation(ctx)
    gone = _file(run).revoke(token_id)
    run.printer().say(f"revoked {gone.id} ({gone.role} of {gone.tenant or 'every tenant'}).")


def _file(run: Invocation) -> TokenFile:
    from streams.connect.access.tokens import TokenFile

    return TokenFile.of(run.settings.home_path(), run.settings.tokens_file)
