"""`dia console`: the query API and its pages."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.invocation import invocation
from streams.cli.listening import BehindTls, TlsCert, TlsKey, listening_of


def register(app: typer.Typer) -> None:
    app.command()(console)


def console(
    ctx: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Default: DIA_CONSOLE_HOST, loopback.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Default: DIA_CONSOLE_PORT; 0: any.")
    ] = None,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
    behind_tls: BehindTls = False,
) -> None:
    """Serve the console and its query API until SIGTERM. Everything needs a token.

    \b
    dia token create --role admin
    dia console --port 8481
    curl -H "Authorization: Bearer $TOKEN" \\
         "http://127.0.0.1:8481/api/series?tenant=acme&model=m&metric=x"

    Example: dia console --port 8481
    """
    from streams.cli.clients import require_address
    from streams.core.telemetry.logs import configure
    from streams.http.console.serving import serve

    run = invocation(ctx)
    settings = run.settings
    address = listening_of(
        host or settings.console_host,
        settings.console_port if port is None else port,
        *(tls_cert, tls_key),
        behind_tls=behind_tls,
    )
    configure(settings.log_format, settings.log_level)
    require_address(settings)
    serve(settings, run.app, address, run.printer().say)
