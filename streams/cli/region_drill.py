"""`dia drill region`: a region is lost, on two local stacks."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.invocation import Invocation, invocation
from streams.cli.region import unmirrored_row

if TYPE_CHECKING:
    from streams.dev.regions.region_drill import RegionDrillResult
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.drill.record import DrillRecord


def region(
    ctx: typer.Context,
    *,
    events: Annotated[
        int, typer.Option(min=2_000, max=1_000_000, help="Events that are posted meanwhile.")
    ] = 10_000,
    rate: Annotated[
        int, typer.Option(min=20, max=20_000, metavar="N", help="Events a second.")
    ] = 500,
    untaken: Annotated[
        int, typer.Option(min=0, max=100_000, help="At least; the mirror stops before the loss.")
    ] = 500,
    lease_s: Annotated[
        float, typer.Option(min=5, max=300, metavar="S", help="lease_s of regions.toml.")
    ] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the events.")] = 1,
) -> None:
    """Lose the active one of two local regions at load, fail over, bring it back, fail back, and
    compare every window of both with what was posted.

    It takes some minutes, two stacks of its own below a temporary folder, and no address of your
    settings. RTO is the time from the loss to the first event that the other region accepts; RPO is
    the age of the oldest record that its mirror had not taken. A mirror on this machine is so near that
    it takes nearly all, so it stops before the loss, until --untaken more events were accepted. A good drill is kept as a record where
    DIA_BACKUP_TO is set. Exit code 1 when an event is lost or doubled in the end, or when RTO is
    above 15 minutes or RPO above 5; the folder with the logs stays then.

    Example: dia drill region
    """
    from streams.core.errors import CommandError, UsageError
    from streams.dev.regions.run import RegionDrillOptions, run
    from streams.operate.drill.record import keep

    if 2 * untaken > events:
        raise UsageError(f"--untaken {untaken} is more than half of --events {events}.")
    call = invocation(ctx)
    destination = _destination(call)
    home = Path(tempfile.mkdtemp(prefix="dia-drill-"))
    printer = call.printer()
    printer.say(f"two regions below {home}")
    options = RegionDrillOptions(
        home=home,
        events=events,
        rate_per_s=rate,
        untaken=untaken,
        lease_s=lease_s,
        seed=seed,
    )
    try:
        result = run(options, printer.say)
    except BaseException:
        printer.warn(f"the logs of the drill stay in {home}.")
        raise
    printer.record(_report(result))
    if found := result.faults:
        raise CommandError(f"the drill went badly: {'; '.join(found)}. Its logs stay in {home}.")
    shutil.rmtree(home)
    if destination is None:
        printer.say("DIA_BACKUP_TO is not set, so no record of this drill is kept.")
    else:
        keep(destination, _record(result))


def _destination(call: Invocation) -> BackupDestination | None:
    from streams.operate.backup.destination import BackupDestination

    if not call.settings.backup_to:
        return None
    destination = BackupDestination.of(call.settings)
    destination.check()
    return destination


def _record(result: RegionDrillResult) -> DrillRecord:
    from streams.operate.drill.record import DrillRecord

    return DrillRecord(
        procedure="region",
        shard=None,
        backup="",
        began_ms=result.began_ms,
        rows=result.events,
        restore_s=result.rto_s,
        rebuild_s=0.0,
        rpo_s=result.rpo_s,
        lost={f"{one.tp} from {one.first}": one.records or 0 for one in result.unmirrored},
    )


def _report(result: RegionDrillResult) -> dict[str, Any]:
    return {
        "rto_s": round(result.rto_s, 1),
        "rpo_s": round(result.rpo_s, 1),
        "failover_s": round(result.failover_s, 1),
        "failback_s": round(result.failback_s, 1),
        "events": result.events,
        "accepted": result.accepted,
        "unmirrored": [unmirrored_row(one) for one in result.unmirrored],
        "lost": result.lost,
        "doubled": result.doubled,
    }
