"""DIA_JOB_RETRIES: accepted values, and the messages of refusals."""

from __future__ import annotations

import pytest

from streams.core.settings.job_retries import JobRetry, job_retries
from streams.engine.agents.queue_policy import QueuePolicy


def test_each_class_of_errors_has_its_own_attempts_and_pause():
    """A shard that restarts needs longer pauses than a process that dies."""
    assert job_retries("process_died=2x0.5,shard_unavailable=6x2") == {
        "process_died": JobRetry(2, 0.5),
        "shard_unavailable": JobRetry(6, 2.0),
    }
    assert job_retries("") == {}


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("process_died", "is not CODE=ATTEMPTSxPAUSE_S"),
        ("process_died=2", "is not CODE=ATTEMPTSxPAUSE_S"),
        ("process_dead=2x1", "'process_dead' is not one of broker_unavailable"),
        ("policy_service_unavailable=2x1", "is not one of"),
        ("process_died=0x1", "1 to 10 attempts"),
        ("process_died=11x1", "1 to 10 attempts"),
        ("process_died=2x0", "a pause above 0"),
        ("process_died=2x61", "up to 60 s"),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(setting, why):
    """With a misspelt code the default would apply without a message."""
    with pytest.raises(ValueError, match=why):
        job_retries(setting)


@pytest.mark.parametrize(("failures", "pause_s"), [(1, 3.0), (2, 6.0), (3, 8.0), (4, 8.0)])
def test_pauses_double_up_to_the_longest_of_the_queue(failures, pause_s):
    """The setting replaces the scenario's attempts and first pause only."""
    policy = QueuePolicy(attempts=3, backoff="fixed", timeout_s=7.0).with_retry(JobRetry(5, 3.0))
    assert policy.pause_s(failures) == pause_s
    assert (policy.attempts, policy.timeout_s) == (5, 7.0)


def test_a_queue_without_a_setting_keeps_its_own():
    """The documented defaults: three attempts, pauses of 1, 2, 4 and at most 8 s, 30 s for a run."""
    policy = QueuePolicy()
    assert policy.with_retry(None) is policy
    assert [policy.pause_s(failures) for failures in range(1, 6)] == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert (policy.attempts, policy.timeout_s) == (3, 30.0)
