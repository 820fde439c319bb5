"""`dia backup`: backups of ClickHouse, made, looked at, tried and restored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import Invocation, invocation
from streams.cli.terminal.operator import Yes, consent
from streams.cli.watchable import watchable

if TYPE_CHECKING:
    from streams.cli.terminal.output import Printer
    from streams.operate.backup.gap import OffsetGap
    from streams.operate.backup.manifest import BackupManifest

Name = Annotated[
    str, typer.Argument(metavar="[NAME]", help="As `dia backup list`; default: the newest whole.")
]
_LOCK = "backup"
_PARTS_LOCK = "backup-parts"
"""of a prune and of a restore: what one reads, the other does not delete"""


def register(app: typer.Typer) -> None:
    group = command_group("Backups of the ClickHouse shards, at DIA_BACKUP_TO.")
    group.command("create")(create)
    group.command("list")(show)
    group.command("verify")(verify)
    group.command("restore")(restore)
    group.command("prune")(prune)
    app.add_typer(group, name="backup")


def create(
    ctx: typer.Context,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="Build on no other backup, even if none is due.")
    ] = False,
    if_due: Annotated[
        bool, typer.Option("--if-due", help="Only when the newest is DIA_BACKUP_INTERVAL_S old.")
    ] = False,
) -> None:
    """Have every shard write its rows to the destination, and publish the manifest.

    It builds on the newest whole backup, unless the last full one is DIA_BACKUP_FULL_S old. A
    backup that ends early does not exist; `dia backup prune` deletes what it wrote.

    Example: dia backup create --full
    """
    from streams.cli.backup_making import make

    run = invocation(ctx)
    made, newest_ms = asyncio.run(make(run, full=full, if_due=if_due))
    printer = run.printer()
    if made is None:
        printer.say("the newest backup is not old enough for another one.")
    if run.json:
        printer.record({"created": made.name if made else None, "newest_ms": newest_ms})
    elif made is not None:
        printer.rows(("backup", "builds on", "shards", "bytes"), [_made(made)])


def _made(made: BackupManifest) -> tuple[Any, ...]:
    return made.name, made.base or "-", len(made.parts), made.own_bytes


@watchable
def show(ctx: typer.Context) -> None:
    """List the backups of the destination, newest first, and which of them are whole.

    Example: dia backup list
    """
    from streams.operate.backup.catalog import catalog
    from streams.operate.backup.destination import BackupDestination

    run = invocation(ctx)
    found = catalog(BackupDestination.of(run.settings))
    run.printer().rows(
        ("backup", "state", "begun", "builds on", "shards", "bytes", "rows", "why"),
        [
            (
                one.name,
                one.state.value,
                datetime.fromtimestamp(one.begun_ms / 1000, UTC),
                one.manifest.base if one.manifest else "",
                len(one.manifest.parts) if one.manifest else None,
                one.manifest.own_bytes if one.manifest else None,
                _rows(one.manifest) if one.manifest else None,
                one.why,
            )
            for one in found
        ],
    )


def _rows(manifest: BackupManifest) -> int:
    return sum(table.rows for part in manifest.parts for table in part.tables)


def verify(ctx: typer.Context, name: Name = "") -> None:
    """Restore a backup into a scratch database of each shard, compare it with the manifest, drop it.

    Each server needs room for a second copy of its rows. Exit code 1 on a difference, 5 when the
    backup is not whole.

    Example: dia backup verify
    """
    from streams.cli.backup_making import chain_of, served
    from streams.core.command_errors import BackupFailed
    from streams.operate.backup.shard_servers import patient
    from streams.operate.backup.verify import verify

    run = invocation(ctx)
    destination, manifests = chain_of(run, name)
    printer = run.printer()

    def work(check: Callable[[], None]) -> list[Any]:
        with ExitStack() as opened:
            servers, _ = served(patient(run.settings), check, opened)
            return verify(destination, manifests[0], servers, check)

    found = asyncio.run(_exclusively(run, work, _LOCK))
    if found or run.json:
        printer.rows(
            ("shard", "table", "bucket", "expected", "found"),
            [(one.shard, one.table, one.bucket, one.expected, one.found) for one in found],
        )
    if found:
        raise BackupFailed(
            f"backup {manifests[0].name} has {len(found)} differences from its manifest. Make a full "
            "one: `dia backup create --full`."
        )
    printer.say(f"{manifests[0].name}: {_rows(manifests[0])} rows, as its manifest says.")


def restore(
    ctx: typer.Context,
    name: Name = "",
    *,
    shards: Annotated[
        list[int] | None,
        typer.Option("--shard", metavar="N", help="Only this one; may be repeated. Default: all."),
    ] = None,
    beside: Annotated[
        bool, typer.Option("--beside-rows", help="Into servers that hold rows: the newest stay.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Fill empty servers from a backup, compare their rows with its manifest, and open them.

    Run it again after a failure: it goes on. Then it names, for each partition, the source offsets
    whose rows may be missing. Exit code 5 when a server holds rows, records other shard maps, or
    the backup is not whole or of a newer dia.

    Example: dia backup restore --shard 1
    """
    from streams.cli.backup_making import chain_of, fill

    run = invocation(ctx)
    destination, manifests = chain_of(run, name)
    manifest = manifests[0]
    if not yes:
        consent(f"Restore backup {manifest.name} of {len(manifest.parts)} shards?")
    printer = run.printer()

    def work(check: Callable[[], None]) -> int:
        chain_of(run, manifest.name)  # a prune may have deleted it before this process had the lock
        return fill(run, destination, manifest, shards, check, printer.say, beside=beside)

    rows = asyncio.run(_exclusively(run, work, "migrations", _PARTS_LOCK))
    printer.say(f"{manifest.name} is restored: {rows} rows, as its manifest says.")
    _show_gap(run, printer, manifest)


def _show_gap(run: Invocation, printer: Printer, manifest: BackupManifest) -> None:
    from streams.core.errors import BrokerUnavailable, DependencyUnreachable

    try:
        found = asyncio.run(_gaps(run, manifest))
    except (BrokerUnavailable, DependencyUnreachable) as error:
        printer.warn(f"how far the log has gone on is unknown: {error}")
        return
    printer.rows(
        ("group", "topic", "partition", "from offset", "committed", "offsets"),
        [(one.group, one.topic, one.partition, one.first, one.until, one.offsets) for one in found],
    )
    printer.say(
        "rows of these offsets that the lost server had acknowledged after the backup are missing, and "
        "so may be rows of earlier ones that were owed when it began. Rows that it had not "
        "acknowledged come by themselves. `dia audit --deep` names what is missing, and `dia rebuild` "
        "writes minute windows, hours and days again."
    )


async def _gaps(run: Invocation, manifest: BackupManifest) -> list[OffsetGap]:
    from streams.cli.clients import admin_and_reader
    from streams.operate.backup.gap import gaps

    async with admin_and_reader(run.settings) as (admin, _):
        sources = [(group, topic.name) for group, topic in run.topology.sources()]
        return await gaps(manifest, admin, sources)


def prune(
    ctx: typer.Context,
    *,
    dry: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
) -> None:
    """Delete backups older than DIA_BACKUP_KEEP_S, and what incomplete ones left.

    Kept are the newest whole one and each that a kept one builds on. Damaged ones stay: delete them
    by hand.

    Example: dia backup prune --dry-run
    """
    from streams.core.clock import SystemClock
    from streams.operate.backup.destination import BackupDestination
    from streams.operate.backup.prune import prune
    from streams.operate.backup.retention import Retention

    run = invocation(ctx)
    destination = BackupDestination.of(run.settings)

    def work(check: Callable[[], None]) -> list[str]:
        now_ms = SystemClock().now_ms()
        return prune(destination, Retention.of(run.settings), now_ms, check, dry=dry)

    gone = asyncio.run(_exclusively(run, work, _LOCK, _PARTS_LOCK))
    run.printer().rows(("deleted" if not dry else "would go",), [(name,) for name in gone])


async def _exclusively(
    run: Invocation, work: Callable[[Callable[[], None]], Any], *locks: str
) -> Any:
    from streams.connect.coordination.exclusive import exclusively

    return await exclusively(run.settings, locks, work)
