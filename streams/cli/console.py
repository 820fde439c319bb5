"""`dia console`: the query API and its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.cli.invocation import invocation


def register(app: typer.Typer) -> None:
    app.command()(console)


def console(
    ctx: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Default: DIA_CONSOLE_HOST, loopback.")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Default: DIA_CONSOLE_PORT; 0: any.")
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, help="PEM chain: serve TLS.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, help="PEM key of it.")
    ] = None,
    behind_tls: Annotated[
        bool, typer.Option("--behind-tls", help="A proxy in front terminates TLS.")
    ] = False,
) -> None:
    """Serve the console and its query API until SIGTERM. Everything needs a token.

    \b
    dia edge token create --role admin
    dia console --port 8481
    curl -H "Authorization: Bearer $TOKEN" \\
         "http://127.0.0.1:8481/api/series?tenant=acme&model=m&metric=x"
    """
    from streams.cli.clients import require_address
    from streams.connect.access.listening import Listening
    from streams.core.errors import UsageError
    from streams.core.telemetry.logs import configure
    from streams.http.console.serving import serve

    run = invocation(ctx)
    settings = run.settings
    if (tls_cert is None) is not (tls_key is None):
        raise UsageError("--tls-cert and --tls-key go together.")
    configure(settings.log_format, settings.log_level)
    require_address(settings)
    serve(
        settings,
        run.app,
        Listening(
            host=host or settings.console_host,
            port=settings.console_port if port is None else port,
            cert=tls_cert,
            key=tls_key,
            behind_tls=behind_tls,
        ),
        run.printer().say,
    )
