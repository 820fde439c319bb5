"""`dia up`, `dia down`, `dia status`: the local stack and its workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.invocation import Invocation, invocation
from streams.cli.terminal.payload import moment
from streams.cli.watchable import watchable
from streams.core.errors import DependencyUnreachable
from streams.core.masking import masked

if TYPE_CHECKING:
    from streams.cli.terminal.output import Printer
    from streams.core.settings import Provenance
    from streams.core.topics.topology import Topology
    from streams.dev.local.status import ServiceStatus, StackStatus
    from streams.engine.health.live_workers import LiveWorker
    from streams.engine.health.rule import Health


def register(app: typer.Typer) -> None:
    app.command()(up)
    app.command()(down)
    app.command()(status)


def up(
    ctx: typer.Context,
    *,
    shards: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="ClickHouse servers (2); more than before: see `dia shards plan`."
        ),
    ] = None,
    brokers: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Kafka brokers; fixed at the first start (1). Three keep three copies.",
        ),
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="A stack for each, in HOME/regions/NAME; name two or more."
        ),
    ] = None,
    new_ports: Annotated[
        bool, typer.Option("--new-ports", help="Discard the stored ports and take free ones.")
    ] = False,
    bare: Annotated[
        bool, typer.Option("--bare", help="Services only, without topics and tables.")
    ] = False,
) -> None:
    """Start Kafka, Redis and ClickHouse on this machine, with all topics and tables.

    Reports a running stack. The first start downloads Kafka (43 MiB) and prepares its classes.
    Data, ports and password are in HOME/stack and persist. Exit code 5 while days move between the
    shards of the running stack.

    With --region, commands with the --home of a region are of that region: its workers, its edge, `dia
    region mirror`. The same command starts them again.

    Example: dia up --region east --region west
    """
    from streams.core import kernels
    from streams.dev.local import stack
    from streams.dev.local.regions import up_regions

    run = invocation(ctx)
    printer = run.printer()
    home = run.settings.home_path()
    # An app that cannot be imported is refused before anything starts.
    prepare = None if bare else partial(_prepare, run.topology, printer)
    start = partial(
        stack.up,
        shards=shards,
        progress=printer.say,
        brokers=brokers,
        new_ports=new_ports,
        class_cache=True,
        then=prepare,
    )
    every = [*up_regions(home, region, start).values()] if region else [start(home)]
    kernels.load(run.settings.kernels)  # the first worker finds them compiled
    for running in every:
        if run.json:
            printer.record(_report(running.settings(), running, workers=[], health=None))
        else:
            _show_services(printer, running)
        with_home = f" --home {running.home}" if region else ""
        printer.say(
            f"ready: data in {running.home}; `dia{with_home} status` shows it, "
            f"`dia{with_home} down` stops it."
        )


def _prepare(topology: Topology, printer: Printer, running: StackStatus) -> None:
    """On this stack, whatever addresses the environment names."""
    import asyncio

    from streams.connect.broker.kafka.broker import KafkaBroker
    from streams.core.settings import load
    from streams.dev.local.preparation import environment, prepare

    settings, _ = load(environment(running.home, running.settings()))
    broker = KafkaBroker.from_settings(settings)
    asyncio.run(prepare(settings, topology, broker, printer.say))


def down(ctx: typer.Context) -> None:
    """Stop what `dia up` started; data and ports stay for the next start.

    Example: dia down
    """
    from streams.dev.local import stack

    run = invocation(ctx)
    home = run.settings.home_path()
    stopped = stack.down(home, run.printer().say)
    run.printer().say("stopped" if stopped else f"no local stack runs in {home}")


@watchable
def status(ctx: typer.Context) -> None:
    """Addresses, services, workers, lag of every declared group, and overall health.

    Lag comes from the broker, also without a live worker. Settled: every worker has lag 0, an empty
    outbox and no live window. Exit code 1 when records wait that no member of their group reads, or
    a partition is stopped; 4 without services, when a service of the local stack does not answer,
    or when lag is unknown.

    Example: dia status --watch
    """
    from streams.cli import health
    from streams.dev.local import stack
    from streams.engine.health.live_workers import live_workers

    run = invocation(ctx)
    printer = run.printer()
    found = stack.status(run.settings.home_path())
    addresses = _addresses(run, found)
    workers = live_workers(run.settings.state_path())
    judged = None
    if addresses["kafka_bootstrap"]:
        judged = health.health_of(run.settings, run.topology, workers)
    if run.json:
        printer.record(_report(addresses, found, workers, judged))
    else:
        _show(printer, addresses, found, workers, judged)
    _refuse_unusable(addresses, found)
    if judged is not None:
        health.conclude(judged)


def _addresses(run: Invocation, found: StackStatus) -> dict[str, str]:
    """Those of a stopped stack are empty."""
    names = found.settings()
    dead = set() if found.running else {row.name for row in run.provenance if _of_stack(row)}
    return {name: "" if name in dead else getattr(run.settings, name) for name in names}


def _of_stack(row: Provenance) -> bool:
    return row.source == "local stack"


def _report(
    addresses: Mapping[str, str],
    found: StackStatus,
    workers: Sequence[LiveWorker],
    health: Health | None,
) -> dict[str, Any]:
    """``degradation`` is null without workers, ``health`` when it was not requested."""
    import msgspec

    from streams.engine.health.live_workers import pipeline_settled, standing

    access = {
        "user": addresses["clickhouse_user"],
        "password_file": addresses["clickhouse_password_file"],
        "database": addresses["clickhouse_database"],
    }
    shards = masked(addresses["clickhouse_shards"])
    groups = [group.split("|") for group in shards.split(",") if group]
    return {
        "bootstrap": addresses["kafka_bootstrap"],
        "redis": masked(addresses["redis_url"]),
        "shards": [{"url": urls[0], "urls": urls, **access} for urls in groups],
        "workers": msgspec.to_builtins(workers),
        "settled": pipeline_settled(workers),
        "degradation": msgspec.to_builtins(standing(workers)),
        "health": health.fields() if health is not None else None,
        "home": str(found.home),
        "services": [_service_record(service) for service in found.services],
    }


def _service_record(service: ServiceStatus) -> dict[str, Any]:
    return {
        "name": service.name,
        "address": service.address,
        "state": service.state.value,
        "ready": service.ready,
        "pid": service.pid,
        "restarts": service.starts - 1,
        "reason": service.reason,
        "log": str(service.log),
    }


def _show(
    printer: Printer,
    addresses: Mapping[str, str],
    found: StackStatus,
    workers: Sequence[LiveWorker],
    health: Health | None,
) -> None:
    from streams.cli.health import show
    from streams.engine.health.live_workers import pipeline_settled, standing

    if found.running:
        _show_services(printer, found)
    elif addresses["kafka_bootstrap"]:
        printer.rows(
            ["service", "address"],
            [
                ["kafka", addresses["kafka_bootstrap"]],
                ["clickhouse", masked(addresses["clickhouse_shards"])],
                ["redis", masked(addresses["redis_url"])],
            ],
        )
    if workers:
        _show_workers(printer, workers)
    if health is not None:
        show(printer, health)
    stands = standing(workers)
    if stands is not None and stands.level:
        since = moment(stands.since_ms, "seconds")
        printer.say(f"level {stands.level} of degradation since {since}:")
        for cause in stands.causes:
            printer.say(f"  {cause.level} {cause.signal}: {cause.why}")
    verdict = f", health: {health.verdict.word}" if health is not None else ""
    if not workers:
        printer.say(f"No workers running{verdict}. Start one: dia worker")
        return
    state = "all caught up" if pipeline_settled(workers) else "catching up, or windows are open"
    noun = "worker" if len(workers) == 1 else "workers"
    printer.say(f"{len(workers)} {noun}, {state}{verdict}")


def _show_workers(printer: Printer, workers: Sequence[LiveWorker]) -> None:
    print()
    printer.rows(
        ["worker", "pid", "ready", "settled", "http_port", "partitions"],
        [[w.slot, w.pid, w.ready, w.settled, w.http_port, len(w.partitions)] for w in workers],
    )
    shown = ["group", "topic", "partition", "phase", "lag"]
    rows = [
        [*(held.get(name) for name in shown), _remark(held), worker.slot]
        for worker in workers
        for held in worker.partitions
    ]
    if rows:
        print()
        printer.rows([*shown, "note", "worker"], sorted(rows, key=lambda row: tuple(row[:3])))


def _remark(held: Mapping[str, Any]) -> str:
    """Why the partition stopped, or that it waits."""
    return held.get("stopped_by") or ("paused" if held.get("paused") else "")


def _show_services(printer: Printer, found: StackStatus) -> None:
    columns = ["service", "address", "state", "pid", "restarts"]
    printer.rows(
        columns,
        [
            [
                service.name,
                service.address,
                "up" if service.ready else f"down: {service.state.value} {service.reason}".strip(),
                service.pid,
                service.starts - 1,
            ]
            for service in found.services
        ],
    )


def _refuse_unusable(addresses: Mapping[str, str], found: StackStatus) -> None:
    """After the output."""
    silent = [service for service in found.services if not service.ready]
    if silent:
        names = ", ".join(f"{service.name} ({service.address})" for service in silent)
        msg = (
            f"{names} of the local stack does not answer. `dia up` tries it again; logs are in "
            f"{silent[0].log.parent}."
        )
        raise DependencyUnreachable(msg)
    if not addresses["kafka_bootstrap"]:
        msg = (
            f"no local stack runs in {found.home} and DIA_KAFKA_BOOTSTRAP is not set. Run `dia up`."
        )
        raise DependencyUnreachable(msg)
