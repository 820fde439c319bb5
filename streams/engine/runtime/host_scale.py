"""`dia worker --processes-min`: as many worker processes as their load needs."""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from streams.core.clock import Clock
from streams.core.process.process import ProcessIdentity
from streams.engine.health.host_scaling import HostScaling, ProcessChange
from streams.engine.runtime.host_watch import HostWatch
from streams.engine.runtime.process_scale import ProcessScale
from streams.engine.runtime.processes import WorkerSlots

log = structlog.get_logger(__name__)


class HostScale:
    """Looks at the workers of ``slots``, whose state folder is ``state``, and resizes them. Each decision is
    a log line and in ``STATE/scaling.json``."""

    def __init__(self, slots: WorkerSlots, scale: ProcessScale, state: Path, clock: Clock) -> None:
        self._slots = slots
        self._scale = scale
        self._state = state
        self._clock = clock
        self._watch = HostWatch(state)
        parent = ProcessIdentity.of(os.getpid())
        assert parent is not None
        self._told = HostScaling(
            parent=parent, processes=scale.size, least=scale.least, most=scale.most
        )
        self._write()

    def step(self, now_s: float) -> None:
        """Call it often; ``now_s`` is monotonic."""
        load = self._watch.look(self._slots.pids, now_s)
        if load is None:
            return
        if self._slots.leaving:
            load = load._replace(starting=True)
        decision = self._scale.step(load, now_s)
        if decision is None:
            return
        log.info(
            "processes_scaled", processes=decision.after, before=decision.before, why=decision.why
        )
        self._slots.resize(decision.after, now_s)
        self._told = self._told.changed(
            ProcessChange(at_ms=self._clock.now_ms(), **decision._asdict())
        )
        self._write()

    def _write(self) -> None:
        try:
            self._told.write(self._state)
        except OSError as error:
            # A full disk must not end the workers.
            log.warning("scaling_not_written", path=str(self._state), why=str(error))
