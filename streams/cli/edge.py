"""`dia edge`: events over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation
from streams.cli.listening import BehindTls, TlsCert, TlsKey, listening_of


def register(app: typer.Typer) -> None:
    group = command_group("Events over HTTP.")
    group.command()(serve)
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
    dia token create --tenant acme
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
