"""Replicas in turn: the first that answers and is not far behind, and what happens when none is."""

from __future__ import annotations

import pytest

from streams.connect.sinks.replica_group import ReplicaGroup
from streams.core.errors import ShardUnavailable


class Server:
    """A replica that answers with its name, unless it is away."""

    def __init__(self, url, *, behind_s=0.0, away=False):
        self.url = url
        self.behind_s = behind_s
        self.away = away

    def delay_s(self):
        self.answer()
        return self.behind_s

    def answer(self):
        if self.away:
            raise ShardUnavailable(f"{self.url} is away")
        return self.url


def ask(group):
    return group.ask(Server.answer)


def test_a_replica_that_lags_is_passed_over():
    """Counts must not go backwards because another server answers."""
    late, fresh = Server("late", behind_s=6.0), Server("fresh", behind_s=1.0)
    assert ask(ReplicaGroup([late, fresh], delay_max_s=5.0)) == "fresh"
    assert ask(ReplicaGroup([late, fresh])) == "late"


def test_where_all_lag_the_latest_is_read_unless_the_reader_wants_none():
    """A page shows what there is; an audit would call lost what has only not arrived."""
    servers = [
        Server("hours", behind_s=7200.0),
        Server("gone", away=True),
        Server("s", behind_s=9.0),
    ]
    assert ask(ReplicaGroup(servers, delay_max_s=5.0)) == "s"
    with pytest.raises(ShardUnavailable, match=r"gone is away.*hours is 7200 s behind"):
        ask(ReplicaGroup(servers, delay_max_s=5.0, stale=False))


def test_one_replica_alone_is_not_asked_how_far_it_is_behind():
    """It is behind nobody, and the question would cost every read a round trip."""
    only = Server("only", behind_s=7200.0)
    assert ask(ReplicaGroup([only], delay_max_s=5.0, stale=False)) == "only"


def test_the_one_that_answered_is_asked_first_from_then_on():
    """A dead server costs its connection timeout once."""
    servers = [Server("dead", away=True), Server("live")]
    group = ReplicaGroup(servers)
    assert ask(group) == "live"
    servers[0].away = False
    assert ask(group) == "live"
