"""`dia worker`: runs agents, in one process or several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

import typer

from streams.cli.invocation import Invocation
from streams.core.errors import UsageError
from streams.core.settings import Settings


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
    processes_min: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="Run as few as this and up to --processes, by the load."),
    ] = None,
    leave: Annotated[
        bool, typer.Option("--leave", help="As with DIA_LEAVE_GROUP=1: it does not return.")
    ] = False,
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
    if leave:
        settings = replace(settings, leave_group=1)
    least = processes if processes_min is None else processes_min
    if least > processes:
        raise UsageError(f"--processes-min {least} is above --processes {processes}.")
    if processes > 1:
        home = ["--home", str(settings.home_path())]
        meant = invocation.app_meant
        command = ["streams", *home, "worker", "--app", meant, "--agents", agents]

        def command_of(number: int) -> list[str]:
            """A slot above the fewest does not return when it ends."""
            leaves = leave or number >= least
            return [*command, "--slot", str(slot + number), *["--leave"] * leaves]

        _supervise(settings, command_of, (least, processes), meant if spare else None)
        return
    if agents == "replay":
        from streams.cli.replay.worker import serve

        serve(settings, app.topology, slot)
        return
    from streams.engine.host import host

    host.run(host.WorkerHost(settings, app, agents=app.chosen(agents), slot=slot))


def _supervise(
    settings: Settings,
    command_of: Callable[[int], list[str]],
    bounds: tuple[int, int],
    spare_app: str | None,
) -> None:
    from streams.cli.standby import command_of as standby_of
    from streams.core.clock import SystemClock
    from streams.engine.runtime import processes
    from streams.engine.runtime.host_scale import HostScale
    from streams.engine.runtime.process_scale import ProcessScale

    least, most = bounds
    spare = None if spare_app is None else standby_of(spare_app)
    slots = processes.WorkerSlots(least, command_of, settings.drain_timeout_s, spare)
    if least == most:
        processes.run(slots)
        return
    scale = ProcessScale(least, most, settings.scale_up_s, settings.scale_down_s)
    processes.run(slots, HostScale(slots, scale, settings.state_path(), SystemClock()).step)
