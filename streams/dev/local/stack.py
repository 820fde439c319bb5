"""Start, stop, inspect and disturb the local stack of one home folder.

One command at a time works on a home. Failures raise `DependencyUnreachable` with the next step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import streams
from streams.core.errors import DependencyUnreachable, UsageError
from streams.core.process.file_lock import exclusive, is_held
from streams.dev.local import class_training, jars, kafka
from streams.dev.local.disk import refuse_full
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import (
    BROKERS_MAX,
    SHARDS_MAX,
    refuse_other_size,
    remembered_plan,
    settle_plan,
    settle_secrets,
)
from streams.dev.local.regions import publish
from streams.dev.local.roster import ChildState, Roster, RosterEntry, read_roster
from streams.dev.local.status import ServiceStatus, StackStatus, live_roster, status
from streams.dev.local.wheels import locate

__all__ = [
    "ServiceStatus",
    "StackStatus",
    "down",
    "restart_service",
    "restart_shard",
    "status",
    "up",
]

Progress: TypeAlias = Callable[[str], None]

COMMAND_WAIT_S = 900.0
"""A first start may fetch jars over a slow line while another waits."""
SUPERVISOR_START_S = 30.0
READY_WAIT_S = 180.0
STOP_WAIT_S = 60.0
POLL_INTERVAL_S = 0.05


def up(
    home: Path,
    shards: int | None = None,
    progress: Progress = lambda _: None,
    *,
    brokers: int | None = None,
    new_ports: bool = False,
    owner_pid: int | None = None,
    class_cache: bool = False,
    then: Callable[[StackStatus], None] | None = None,
) -> StackStatus:
    """Start the stack and wait until it serves; returns a running one unchanged.

    ``shards`` and ``brokers`` None: as at the last start, two shards and one broker at the first.
    More ``shards`` than before start servers that are in no shard map yet. ``new_ports`` forgets
    the stored ports. With ``owner_pid`` the stack stops when that process is dead. ``class_cache``
    creates Kafka's class cache, which takes some ten seconds and pays off from the third start.
    ``then`` runs before another command may use the stack. Raises `DependencyUnreachable`,
    `RefusedBySafety` for fewer shards or another number of brokers, `UsageError` for an impossible
    one."""
    for option, count, most in (
        ("--shards", shards, SHARDS_MAX),
        ("--brokers", brokers, BROKERS_MAX),
    ):
        if count is not None and not 1 <= count <= most:
            raise UsageError(f"{option} {count} is out of range: allowed 1 to {most}.")
    folder = StackFolder.of(home)
    with _writing(folder):
        folder.create()
    with _one_command(folder, progress):
        roster, plan = _supervised(folder), remembered_plan(folder)
        if roster is not None and plan is not None:
            refuse_other_size(plan, shards, brokers, folder)
            progress(f"the local stack in {folder.home} is already running")
            _retry_failed(roster)
            _wait_ready(folder, progress)
        else:
            _clear_remains(folder)
            with _writing(folder):
                _prepare(
                    folder, shards, brokers, progress, new_ports=new_ports, class_cache=class_cache
                )
            _start(folder, progress, owner_pid)
        running = status(home)
        publish(folder, running)
        if then is not None:
            then(running)
        return running


def down(home: Path, progress: Progress = lambda _: None) -> bool:
    """False when none was running. Data and ports stay."""
    folder = StackFolder.of(home)
    if not folder.root.exists():
        return False
    with _one_command(folder, progress):
        roster = _supervised(folder)
        if roster is not None:
            progress(f"stopping the local stack in {folder.home}")
            _stop(roster)
        _clear_remains(folder)
        return roster is not None


def restart_shard(home: Path, index: int, *, kill: bool = True) -> None:
    restart_service(home, f"clickhouse-{index}", kill=kill)


def restart_service(home: Path, name: str, *, kill: bool = True) -> None:
    """With SIGKILL or SIGTERM, and wait for its restart. Raises `DependencyUnreachable`, and
    `UsageError` for an unknown name."""
    folder = StackFolder.of(home)
    before = _entry(folder, name)
    if before.process is not None:
        before.process.send(signal.SIGKILL if kill else signal.SIGTERM)
    deadline = time.monotonic() + READY_WAIT_S
    while (
        entry := _entry(folder, name)
    ).starts == before.starts or entry.state is not ChildState.READY:
        if entry.state is ChildState.FAILED or time.monotonic() >= deadline:
            raise _not_serving(entry)
        time.sleep(POLL_INTERVAL_S)


def _entry(folder: StackFolder, name: str) -> RosterEntry:
    roster = live_roster(folder)
    if roster is None:
        raise DependencyUnreachable(f"no local stack runs in {folder.home}. Run `dia up`.")
    for entry in roster.entries:
        if entry.name == name:
            return entry
    known = ", ".join(entry.name for entry in roster.entries)
    raise UsageError(f"the local stack has no service {name}; it has {known}.")


@contextmanager
def _writing(folder: StackFolder) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        msg = (
            f"{error.filename or folder.root} cannot be written: {error.strerror}. Correct that, "
            "or name another folder with --home or DIA_HOME, and run `dia up` again."
        )
        raise DependencyUnreachable(msg) from error


@contextmanager
def _one_command(folder: StackFolder, progress: Progress) -> Iterator[None]:
    def waiting() -> None:
        progress(f"another command is working on the stack in {folder.home}, waiting for it")

    try:
        with exclusive(folder.command_lock, COMMAND_WAIT_S, waiting):
            yield
    except TimeoutError as error:
        msg = (
            f"another `dia up` or `dia down` has been working on {folder.home} for "
            f"{COMMAND_WAIT_S / 60:.0f} minutes. End it and run the command again."
        )
        raise DependencyUnreachable(msg) from error


def _supervised(folder: StackFolder) -> Roster | None:
    """None without a supervisor. A new one holds its lock before it writes its roster."""
    deadline = time.monotonic() + SUPERVISOR_START_S
    while is_held(folder.supervisor_lock):
        roster = live_roster(folder)
        if roster is not None:
            return roster
        if time.monotonic() >= deadline:
            msg = (
                f"the stack's supervisor in {folder.home} does not report; its log is "
                f"{folder.log('supervisor')}. End it and run the command again."
            )
            raise DependencyUnreachable(msg)
        time.sleep(POLL_INTERVAL_S)
    return None


def _prepare(
    folder: StackFolder,
    shards: int | None,
    brokers: int | None,
    progress: Progress,
    *,
    new_ports: bool,
    class_cache: bool,
) -> None:
    wheels = locate()
    refuse_full(folder.root)
    class_path = jars.ensure(jars.cache_folder(os.environ, folder.home), progress)
    if class_cache:
        class_training.ensure(wheels.java, class_path, progress)
    plan = settle_plan(folder, shards, brokers, new_ports=new_ports)
    settle_secrets(folder)
    folder.redis.mkdir(exist_ok=True)
    kafka.prepare(folder, plan, wheels.java, class_path)
    kafkas = "Kafka" if len(plan.brokers) == 1 else f"{len(plan.brokers)} Kafka brokers"
    progress(f"starting {kafkas}, Redis and {len(plan.server_ports)} ClickHouse shards")


def _start(folder: StackFolder, progress: Progress, owner_pid: int | None) -> None:
    try:
        _start_supervisor(folder, owner_pid)
        _wait_ready(folder, progress)
    except BaseException:
        # also on Ctrl-C: do not leave half a stack
        roster = _supervised(folder)
        if roster is not None:
            _stop(roster)
        _clear_remains(folder)
        raise


def _start_supervisor(folder: StackFolder, owner_pid: int | None) -> None:
    """Returns when the supervisor holds its lock and has its start byte. If interrupted earlier,
    the supervisor finds the pipe closed and ends."""
    go, tell = os.pipe()
    try:
        _spawn_supervisor(folder, owner_pid, go)
        os.write(tell, b"!")
    finally:
        os.close(go)
        os.close(tell)


def _spawn_supervisor(folder: StackFolder, owner_pid: int | None, go: int) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "streams.dev.local.supervisor",
        "--home",
        str(folder.home),
    ]
    owner = [] if owner_pid is None else ["--owner-pid", str(owner_pid)]
    try:
        subprocess.run(
            [*command, *owner, "--go-fd", str(go)],
            env={**os.environ, "PYTHONPATH": _import_path()},
            stdin=subprocess.DEVNULL,
            pass_fds=(go,),
            capture_output=True,
            text=True,
            timeout=SUPERVISOR_START_S,
            check=True,
        )
    except subprocess.SubprocessError as error:
        words = getattr(error, "stderr", None) or str(error)
        msg = (
            f"the stack's supervisor did not start: {words.strip().rpartition(chr(10))[2]}. Its "
            f"log is {folder.log('supervisor')}."
        )
        raise DependencyUnreachable(msg) from error


def _import_path() -> str:
    entries = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    root = Path(next(iter(streams.__path__))).parent
    if root.name != "site-packages":
        entries.append(str(root))
    return os.pathsep.join(dict.fromkeys(str(Path(entry).absolute()) for entry in entries))


def _retry_failed(roster: Roster) -> None:
    if any(entry.state is ChildState.FAILED for entry in roster.entries):
        roster.supervisor.send(signal.SIGHUP)


def _wait_ready(folder: StackFolder, progress: Progress) -> None:
    started = time.monotonic()
    told: dict[str, tuple[ChildState, int]] = {}
    while True:
        waited_s = time.monotonic() - started
        roster = live_roster(folder)
        if roster is not None:
            for entry in roster.entries:
                if told.get(entry.name) != (entry.state, entry.starts):
                    told[entry.name] = (entry.state, entry.starts)
                    _tell(entry, waited_s, progress)
            if all(entry.state is ChildState.READY for entry in roster.entries):
                return
            _refuse_failed(roster, waited_s)
        elif waited_s >= SUPERVISOR_START_S:
            msg = (
                f"the stack's supervisor ended; its log is {folder.log('supervisor')}. "
                "Fix the error it names and run `dia up` again."
            )
            raise DependencyUnreachable(msg)
        time.sleep(POLL_INTERVAL_S)


def _tell(entry: RosterEntry, waited_s: float, progress: Progress) -> None:
    if entry.state is ChildState.READY:
        progress(f"{entry.name} serves on {entry.address} ({waited_s:.1f} s)")
    elif entry.state is ChildState.WAITING:
        progress(f"{entry.name} {entry.reason}, starting it again (log: {entry.log})")


def _refuse_failed(roster: Roster, waited_s: float) -> None:
    for entry in roster.entries:
        late = waited_s >= READY_WAIT_S and entry.state is not ChildState.READY
        # A retried child shows as failed until the supervisor restarts it.
        if late or (entry.state is ChildState.FAILED and waited_s > 1.0):
            raise _not_serving(entry)


def _not_serving(entry: RosterEntry) -> DependencyUnreachable:
    why = entry.reason or "does not answer"
    return DependencyUnreachable(
        f"{entry.name} does not serve on {entry.address}: it {why}. Its log is {entry.log} (and "
        f".out beside it). Fix the error it names and run `dia up` again."
    )


def _stop(roster: Roster) -> None:
    """SIGTERM stops all in order; a late supervisor is killed with its children."""
    roster.supervisor.send(signal.SIGTERM)
    if not roster.supervisor.wait_gone(STOP_WAIT_S):
        roster.supervisor.send(signal.SIGKILL)
        roster.supervisor.wait_gone(STOP_WAIT_S)


def _clear_remains(folder: StackFolder) -> None:
    roster = read_roster(folder)
    for entry in roster.entries if roster is not None else ():
        if entry.process is not None and entry.process.send(signal.SIGKILL):
            entry.process.wait_gone(STOP_WAIT_S)
    folder.published.unlink(missing_ok=True)
    folder.roster.unlink(missing_ok=True)
