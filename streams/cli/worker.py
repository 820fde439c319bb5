"""`dia worker`: runs agents, in one process or several."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.invocation import Invocation


def register(app: typer.Typer) -> None:
    app.command("worker")(worker)


def worker(
    ctx: typer.Context,
    agents: Annotated[
        str, typer.Option(help="Comma-separated names, all of them, or replay: submitted plans.")
    ] = "all",
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Worker processes to run and to keep running.")
    ] = 1,
    slot: Annotated[
        int, typer.Option(min=0, max=1023, help="Number of this process on this host.")
    ] = 0,
    spare: Annotated[
        bool, typer.Option(help="With --processes: keep one more ready for one that dies, 120 MB.")
    ] = True,
) -> None:
    """Run agents until SIGTERM. Needs Kafka; ClickHouse may be unavailable.

    The first signal drains within DIA_DRAIN_TIMEOUT_S, a second one aborts.

    Example: dia worker --agents replay
    """
    from streams.core.telemetry.logs import configure

    invocation: Invocation = ctx.obj
    settings, app = invocation.settings, invocation.app
    package = invocation.app_meant.partition(":")[0].partition(".")[0]
    configure(settings.log_format, settings.log_level, own=[package])
    if processes > 1:
        from streams.cli.standby import command_of
        from streams.engine.runtime import processes as supervisor

        home = ["--home", str(settings.home_path())]
        meant = invocation.app_meant
        command = ["streams", *home, "worker", "--app", meant, "--agents", agents]
        supervisor.run(
            processes,
            lambda number: [*command, "--slot", str(slot + number)],
            settings.drain_timeout_s,
            spare=command_of(meant) if spare else None,
        )
        return
    if agents == "replay":
        from streams.cli.replay.worker import serve

        serve(settings, app.topology, slot)
        return
    from streams.engine.host import host

    host.run(host.WorkerHost(settings, app, agents=app.chosen(agents), slot=slot))
