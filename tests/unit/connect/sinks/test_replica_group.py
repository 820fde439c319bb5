"""Choice of a replica: the first that answers with a small delay, or the result when there is none."""

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


def test_a_lagging_replica_is_skipped():
    """Counts must not go backwards when another server answers."""
    late, fresh = Server("late", behind_s=6.0), Server("fresh", behind_s=1.0)
    assert ask(ReplicaGroup([late, fresh], delay_max_s=5.0)) == "fresh"
    assert ask(ReplicaGroup([late, fresh])) == "late"


def test_if_all_replicas_lag_the_latest_is_read_unless_the_reader_refuses():
    """A page shows the available rows; an audit would report rows as lost that have not arrived
    yet.
    """
    servers = [
        Server("hours", behind_s=7200.0),
        Server("gone", away=True),
        Server("s", behind_s=9.0),
    ]
    group = ReplicaGroup(servers, delay_max_s=5.0)
    assert (ask(group), group.behind_s) == ("s", 9.0)
    servers[0].behind_s = 0.0
    assert (ask(group), group.behind_s) == ("hours", 0.0)
    servers[0].behind_s = 7200.0
    with pytest.raises(ShardUnavailable, match=r"gone is away.*hours is 7200 s behind"):
        ask(ReplicaGroup(servers, delay_max_s=5.0, stale=False))


def test_a_single_replica_is_not_asked_for_its_lag():
    """A single replica has no lag, and the request would add a round trip to every read."""
    only = Server("only", behind_s=7200.0)
    assert ask(ReplicaGroup([only], delay_max_s=5.0, stale=False)) == "only"


def test_the_replica_that_answered_is_asked_first_afterwards():
    """A dead server costs its connection timeout only once."""
    servers = [Server("dead", away=True), Server("live")]
    group = ReplicaGroup(servers)
    assert ask(group) == "live"
    servers[0].away = False
    assert ask(group) == "live"
