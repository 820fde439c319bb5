"""A quota of dead letters that hold their record: what is beyond it points to the record, and others are
unaffected."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from streams.core.clock import VirtualClock
from streams.dev.simulation.history import SETTINGS
from streams.engine.health.finding import Severity
from streams.engine.health.live_workers import LiveWorker
from streams.engine.health.observation import Observation
from streams.engine.health.rule import judge
from streams.engine.runtime.poison.letter_quota import OVER_S, LetterQuota
from streams.engine.runtime.poison.letter_rate import TENANTS_MAX, LetterRate
from streams.engine.runtime.status_file import StatusFile
from tests.unit.engine.runtime.test_quarantine import ATTACKER, METRICS, VICTIM, told

QUOTA = 50
BOUNDED = replace(SETTINGS, quota_letters=QUOTA)


def test_letters_beyond_the_quota_point_to_existing_records(tmp_path):
    """A tenant with one bad record in three is never quarantined, and fills the DLQ as fast as it sends."""

    async def story(town, process):
        old_ms = town.clock.now_ms() - (BOUNDED.late_max_s + 5) * 1000
        now_ms = town.clock.now_ms()
        mixed = [town.metric(ATTACKER, n, ts=now_ms if n % 3 else old_ms) for n in range(600)]
        await town.send(METRICS.topic, ATTACKER, *mixed)
        theirs = [town.metric(VICTIM, n, ts=old_ms) for n in range(QUOTA)]
        await town.send(METRICS.topic, VICTIM, *theirs)
        await town.all_settled(process)
        assert (town.counted(ATTACKER), town.counted(VICTIM)) == (400, 0)
        letters = town.letters(METRICS)
        assert len(letters) == 200 + QUOTA, "no bad record is without its letter"
        source = town.broker.log(METRICS).read_committed(0, 10**6)
        at = dict(zip(source.offsets, source.values, strict=True))
        whole = {ATTACKER: 0, VICTIM: 0}
        for key, value, found in zip(letters.keys, letters.values, letters.headers, strict=True):
            headers = dict(found)
            if value is not None:
                whole[key.decode()] += 1
            else:
                assert headers["dia.dlq.pointer"] == b"true"
                assert at[int(headers["dia.dlq.offset"])], "a replay reads the record there"
        assert whole == {ATTACKER: QUOTA, VICTIM: QUOTA}
        assert town.gauge(process, "dia_quarantined_tenants", METRICS) == 0
        assert town.gauge(process, "dia_tenants_over_letter_quota", METRICS) == 1
        StatusFile(tmp_path, 0, 1).write(process.worker)
        [finding] = _findings(tmp_path)
        assert ATTACKER in finding.detail
        assert VICTIM not in finding.detail

    told(story, settings=BOUNDED)


def _findings(state_dir):
    worker = msgspec.json.decode((state_dir / "workers/0.json").read_bytes())
    live = LiveWorker(pid=1, slot=0, partitions=worker["partitions"])
    found = judge(Observation(at_ms=0, sources=(), workers=(live,))).findings
    return [one for one in found if one.code == "letters_over_quota"]


def test_a_tenant_is_named_until_it_is_over_the_quota_no_more():
    """An operator must see who, how many more, and that it ended."""
    clock = VirtualClock()
    quota = LetterQuota(METRICS, 1)
    assert quota
    for number in range(6):
        tenant = f"t{number}".encode()
        assert quota.take(tenant, clock.monotonic())
        assert not quota.take(tenant, clock.monotonic())
    assert quota.over(0.0) == ["t5", "t4", "t3", "t2", "t1", "t0"]
    assert not quota.take(b"t0", OVER_S / 2)
    assert quota.over(OVER_S) == ["t0"]
    assert quota.over(1.5 * OVER_S) == []


def test_tenants_over_the_quota_are_a_warning_of_the_health_rule():
    """The records are lost if the source's retention ends before an operator looks."""
    over = {"tenants": ["a", ""], "more": 3}
    partition = {"group": "g", "topic": "t", "partition": 0, "letters_over_quota": over}
    worker = LiveWorker(pid=1, slot=0, partitions=[partition])
    found = judge(Observation(at_ms=0, sources=(), workers=(worker,))).findings
    [finding] = [one for one in found if one.code == "letters_over_quota"]
    assert (finding.subject, finding.severity) == ("t/0", Severity.WARNING)
    assert "a, unreadable and 3 more" in finding.detail


def test_letters_that_hold_their_record_are_limited_to_the_rate():
    """Two letters a second are whole, however many there are and however many tenants."""
    rate = LetterRate(2.0)
    whole = [sum(rate.take(b"a", second * 0.5) for _ in range(50)) for second in range(6)]
    assert whole == [2, 1, 1, 1, 1, 1]
    assert rate.take(b"b", 2.5)


def test_names_of_tenants_without_end_get_no_letters_without_end():
    """A producer that names another tenant in each record would fill the DLQ, and the worker's memory."""
    rate = LetterRate(2.0, 3600.0)
    assert rate.take(b"known", 0.0)
    taken = sum(rate.take(b"%d" % number, 1.0) for number in range(10 * TENANTS_MAX))
    assert taken <= TENANTS_MAX + 2
    assert len(rate._left) <= TENANTS_MAX
    assert rate.take(b"known", 1.0), "an account that was there stays"
    assert rate.take(b"new", 3600.0), "accounts that are full again make room"
    assert rate.take(b"new", 3600.0)
