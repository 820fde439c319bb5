"""What every peer reports to the bench on stdout: progress and counts.

``@@ READ UNIX_TIME`` at the first record, every 200th of the whole, and the last one; then
``@@ done APPLIED DUPLICATES``. Settings come as ``BENCH_*`` variables.
"""

import os
import sys
import time

BOOTSTRAP = os.environ["BENCH_BOOTSTRAP"]
TOPIC = os.environ["BENCH_TOPIC"]
GROUP = os.environ["BENCH_GROUP"]
STATE = os.environ["BENCH_STATE"]
EVENTS = int(os.environ["BENCH_EVENTS"])
MINUTE_MS = 60_000
_STEP = max(1, EVENTS // 200)


class Progress:
    """The peer counts ``applied`` and ``duplicates``; `add` reports completed records."""

    def __init__(self) -> None:
        self.applied = 0
        self.duplicates = 0
        self.read = 0
        self._next = _STEP
        self._started = False

    @property
    def done(self) -> bool:
        return self.read >= EVENTS

    def start(self) -> None:
        """Report that the first records arrived. `add` does so, too, once they are done."""
        if not self._started:
            self.about_to_read()

    def about_to_read(self) -> None:
        """Before each step of a peer that learns only after a step if it had records: the last call
        before the first records counts."""
        if not self.read:
            self._started = True
            self._tell(0)

    def add(self, records: int = 1) -> None:
        self.start()
        self.read += records
        if self.read < self._next:
            return
        self._tell(self.read)
        self._next = min(EVENTS, self.read + _STEP)
        if self.done:
            self._next = sys.maxsize
            self._write(f"@@ done {self.applied} {self.duplicates}")

    def _tell(self, read: int) -> None:
        self._write(f"@@ {read} {time.time():.4f}")

    def _write(self, line: str) -> None:
        # Not sys.stdout: a framework may log there.
        sys.__stdout__.write(line + "\n")
        sys.__stdout__.flush()
