"""The process that owns the stack's children: ``python -m streams.dev.local.supervisor --home H``.

It restarts dead children, stops all in order on SIGTERM, and retries failed ones on SIGHUP. Its
death ends its children (`streams.core.process.tether`). It ends when its home folder disappears or
the process ``--owner-pid`` dies."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from streams.core.process.file_lock import exclusive
from streams.core.process.process import ProcessIdentity
from streams.dev.local.child import Child
from streams.dev.local.folder import StackFolder
from streams.dev.local.plan import remembered_plan
from streams.dev.local.roster import ChildState, Roster, write_roster
from streams.dev.local.services import services

STEP_INTERVAL_S = 0.05
"""while a child starts or waits for its restart"""
WATCH_INTERVAL_S = 1.0
"""The delay until a vanished home is detected. A death (SIGCHLD) wakes the loop at once."""
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD})


class Supervisor:
    def __init__(
        self, folder: StackFolder, children: Sequence[Child], owner: ProcessIdentity | None
    ) -> None:
        self._folder = folder
        self._owner = owner
        self._children = children
        self._identity = ProcessIdentity.of(os.getpid())
        self._lock_inode = folder.supervisor_lock.stat().st_ino
        self._written: Roster | None = None
        self._refused = ""
        """why the roster cannot be written, since it cannot"""

    def run(self) -> None:
        """Blocks; needs `_SIGNALS` blocked in this thread."""
        try:
            for child in self._children:
                child.start()
            while self._wanted():
                for child in self._children:
                    child.step()
                self._report()
                if self._told_to_stop():
                    break
        finally:
            self._stop()

    def _wanted(self) -> bool:
        owner_lives = self._owner is None or self._owner.alive()
        return owner_lives and self._owns_folder()

    def _owns_folder(self) -> bool:
        """False when the home vanished, even if a new stack has replaced it."""
        try:
            return self._folder.supervisor_lock.stat().st_ino == self._lock_inode
        except OSError:
            return False

    def _told_to_stop(self) -> bool:
        """Wait for a signal or the next step; True for a stop signal."""
        unsettled = any(child.unsettled for child in self._children)
        caught = signal.sigtimedwait(_SIGNALS, STEP_INTERVAL_S if unsettled else WATCH_INTERVAL_S)
        if caught is None:
            return False
        if caught.si_signo == signal.SIGHUP:
            for child in self._children:
                child.retry()
        # After SIGSTOP and SIGCONT past its timeout, Python's sigtimedwait returns an uninitialised
        # siginfo.
        return caught.si_signo in (signal.SIGTERM, signal.SIGINT)

    def _stop(self) -> None:
        if self._owns_folder():
            with contextlib.suppress(OSError):
                self._folder.published.unlink(missing_ok=True)
        ranked = sorted(self._children, key=_stop_rank)
        for _, rank in groupby(ranked, key=_stop_rank):
            stopping = list(rank)
            for child in stopping:
                child.ask_to_stop()
            for child in stopping:
                child.finish()
        self._report()

    def _report(self) -> None:
        assert self._identity is not None, "a process can always see itself"
        entries = tuple(child.entry() for child in self._children)
        roster = Roster(supervisor=self._identity, entries=entries)
        if roster == self._written or not self._owns_folder():
            return
        try:
            write_roster(self._folder, roster)
        except OSError as error:
            # A full disk must not end the stack; the next step retries.
            why = error.strerror or str(error)
            if why != self._refused:
                _log(f"cannot write {self._folder.roster}: {why}")
            self._refused = why
        else:
            _log_changes(self._written, roster)
            self._written, self._refused = roster, ""


def _stop_rank(child: Child) -> int:
    return child.service.stop_rank


def _log_changes(before: Roster | None, after: Roster) -> None:
    known = {entry.name: entry for entry in before.entries} if before else {}
    for entry in after.entries:
        last = known.get(entry.name)
        if last is None or last.state is not entry.state:
            pid = entry.process.pid if entry.process else "-"
            _log(f"{entry.name} {entry.state.value} pid={pid} {entry.reason}".rstrip())
            if entry.state is ChildState.FAILED:
                _log(f"{entry.name} GIVEN UP after repeated deaths; see {entry.log}")


def _log(text: str) -> None:
    """The log may lie on a full disk: its lines are then lost, and the stack serves on."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n")
        sys.stderr.flush()


def _detach(log: Path) -> None:
    """Leave the caller's session and descriptors; the caller's child ends at once."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    silence = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((silence, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="streams.dev.local.supervisor", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--owner-pid", type=int)
    parser.add_argument("--go-fd", type=int, required=True)
    options = parser.parse_args(argv)
    folder = StackFolder.of(options.home)
    owner = ProcessIdentity.of(options.owner_pid) if options.owner_pid else None
    if options.owner_pid and owner is None:
        sys.exit(f"process {options.owner_pid}, which was to own the stack, is gone.")
    plan = remembered_plan(folder)
    if plan is None:
        sys.exit(f"no stack was planned in {folder.home}. Run `dia up`.")
    try:
        # Inherited by the fork: a free lock means that no supervisor runs.
        with exclusive(folder.supervisor_lock, timeout_s=0, waiting=lambda: None):
            _detach(folder.log("supervisor"))
            # End of file instead of a byte: the caller was interrupted and cannot stop this
            # process.
            if not os.read(options.go_fd, 1):
                return
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            children = [Child(service) for service in services(folder, plan)]
            Supervisor(folder, children, owner).run()
    except TimeoutError:
        sys.exit(f"another supervisor owns the stack in {folder.home}.")


if __name__ == "__main__":
    main()
