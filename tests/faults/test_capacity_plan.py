"""A plan for ten times the load, from what the pipeline itself kept of ten minutes of the example load
test; its number of processes then meets that load."""

from __future__ import annotations

import json

import pytest

from tests.faults.load_test_stage import load_test_stage
from tests.faults.report import Finding
from tests.faults.test_recovery_time import owned

TODAY_S = 600
"""two samples of usage lie in it, five minutes apart, whenever it begins"""
SCALE = 0.004
"""600 metrics a second"""
GROWN_S = 60
BEHIND_MAX_S = 5
"""Processes that read a tenth less than what comes are later than this after `GROWN_S`."""


@pytest.mark.once
@pytest.mark.timeout(1500)
async def test_the_processes_of_a_plan_for_ten_times_the_load_hold_it(
    trial, proxies, report, tmp_path
):
    """Else the plan would be a number that no stack has seen."""
    worker = trial.worker(agents="all", pool_processes=1)
    await worker.ready()
    with load_test_stage(trial, tmp_path) as stage:
        today = await stage.run(seconds=TODAY_S, scale=SCALE)
    assert "all flows: checks of exactness that failed" not in today.failed, today.said
    await trial.settled()
    said = await trial.command("capacity", "plan", "--growth", "10x", "--json")
    needs = {(one := json.loads(line))["resource"]: one for line in said.splitlines()}
    wanted = round(needs["worker processes"]["at_the_horizon"])
    per_s = round(needs["events a second, busiest"]["at_the_horizon"])
    worker.end()
    trial.workers.remove(worker)
    trial.worker(processes=max(2, wanted), agents="all", pool_processes=1)
    await owned(trial)
    trial.feed(per_s * GROWN_S, rate_per_s=per_s)
    await trial.fed()
    unread = await trial.reading.unread()
    assert unread < BEHIND_MAX_S * per_s, f"{unread} of {per_s} a second"
    await trial.settled()
    await trial.audited()
    events = today.events + per_s * GROWN_S
    note = f"{wanted} processes for {per_s:,} events/s; {unread:,} unread at the end of {GROWN_S} s"
    report(Finding("the plan for ten times the load, carried out", events, 0, 0, note=note))
