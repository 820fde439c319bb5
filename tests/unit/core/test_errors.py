"""The tree of errors: one disposition for each leaf, and stable codes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from streams.connect.access import refusals
from streams.core import errors, job_refusals
from streams.core.errors import DiaError, Disposition
from streams.core.records import bad_records

BRANCHES = {
    errors.BadRecord: Disposition.DEAD_LETTER,
    errors.TransientError: Disposition.RETRY,
    errors.JobRefused: Disposition.ANSWER,
    errors.RequestRefused: Disposition.ANSWER,
    errors.PartitionRestart: Disposition.RESTART_PARTITION,
    errors.PartitionStopped: Disposition.STOP_PARTITION,
    errors.WorkerStopped: Disposition.STOP_WORKER,
    errors.CommandError: Disposition.END_COMMAND,
    errors.RollUpExpired: Disposition.SKIP,
    errors.RecordLost: Disposition.SKIP,
}
TREE = {module.__name__ for module in (errors, bad_records, job_refusals)}
MODULES = {*TREE, refusals.__name__}
"""Where leaves are; the answers to HTTP requests stand with the edge."""
PAUSING = {
    "breaker_open",
    "global_table_pending",
    "policy_service_unavailable",
    "request_unread",
    "schema_pending",
    "schema_registry_unavailable",
    "subject_pending",
}
"""Transient errors that are no failure of the event: its caller waits."""


def leaves(branch: type[DiaError] = DiaError) -> Iterator[type[DiaError]]:
    below = branch.__subclasses__()
    if not below:
        yield branch
    for child in below:
        if child.__module__ in MODULES:
            yield from leaves(child)


def test_each_leaf_has_the_disposition_of_its_branch():
    """The runtime acts by the branch, so a leaf must not differ from it."""
    for leaf in leaves():
        [branch] = [branch for branch in BRANCHES if issubclass(leaf, branch)]
        expected = Disposition.PAUSE if leaf.code in PAUSING else BRANCHES[branch]
        assert leaf.disposition is expected, leaf.__name__


def test_codes_are_stable_labels_of_their_own():
    """A code is a metric label and a header value: two leaves with one code could not be told
    apart.
    """
    codes = [leaf.code for leaf in leaves()]
    # An edge's 429 and a dead letter share a code for a tenant; no metric has both.
    twice = [code for code, count in Counter(codes).items() if count > 1]
    assert twice == [bad_records.TenantOverQuota.code]
    assert "error" not in codes
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{2,30}", code) for code in codes)


def test_every_leaf_is_in_the_docstring_of_the_tree():
    """Readers use the docstring as the map of the tree."""
    told = set(re.findall(r"\b[A-Z][A-Za-z0-9]+\b", errors.__doc__ or ""))
    assert {leaf.__name__ for leaf in leaves() if leaf.__module__ in TREE} - told == set()


def test_exit_codes_are_those_of_the_command_line():
    """0 done, 1 failed, 2 usage, 3 partial, 4 unreachable, 5 refused, 6 not found."""
    assert {leaf.exit_code for leaf in leaves()} <= {1, 2, 3, 4, 5, 6}
