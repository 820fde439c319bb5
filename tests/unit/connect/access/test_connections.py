"""Which connections are accepted when many arrive, and which are closed to make room."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.access.connections import Connections, site_of


class Held:
    """A connection that records whether it was closed to make room."""

    closed = False

    def make_room(self) -> None:
        self.closed = True


def _fill(connections: Connections, host: str, count: int) -> list[Held]:
    made = [Held() for _ in range(count)]
    for one in made:
        assert connections.admit(host, one)
    return made


def test_waiting_connections_of_one_address_block_no_other_client():
    """One client opens all connections it can and stays silent: other clients and its own new
    connections are served.
    """
    connections = Connections(total_max=10, address_max=5)
    idle = _fill(connections, "192.0.2.1", 50)
    assert len(connections) == 5
    assert [one.closed for one in idle] == [True] * 45 + [False] * 5
    assert _fill(connections, "192.0.2.2", 1)


def test_the_address_with_the_most_makes_room():
    """In an attack from many addresses, addresses with one connection each keep it."""
    connections = Connections(total_max=10, address_max=5)
    honest = _fill(connections, "198.51.100.1", 1)
    attackers = [_fill(connections, f"192.0.2.{i}", 5) for i in range(4)]
    assert len(connections) == 10
    assert not honest[0].closed
    assert _fill(connections, "198.51.100.2", 1)
    assert not honest[0].closed
    assert sum(one.closed for found in attackers for one in found) == 12


def test_connections_that_are_answered_are_not_closed():
    """A connection with an answer under way is not closed; a new connection is refused then."""
    connections = Connections(total_max=4, address_max=2)
    busy = _fill(connections, "192.0.2.1", 2)
    for one in busy:
        connections.answering(one)
    assert not connections.admit("192.0.2.1", Held())
    assert not any(one.closed for one in busy)
    connections.waiting(busy[0])
    assert connections.admit("192.0.2.1", Held())
    assert [one.closed for one in busy] == [True, False]


def test_one_network_of_ipv6_is_one_client():
    """A subscriber has 2^64 IPv6 addresses."""
    assert site_of("2001:db8::1") == site_of("2001:db8::ffff:1") != site_of("2001:db8:0:1::1")
    assert site_of("::ffff:192.0.2.1") == site_of("192.0.2.1") != site_of("192.0.2.2")
    assert site_of("fe80::1%eth0") == site_of("fe80::2%eth0")
    assert site_of("/run/socket") == "/run/socket"


def test_behind_a_proxy_the_bound_of_an_address_does_not_apply():
    """The bound of one address would apply to all clients."""
    connections = Connections(total_max=10, address_max=0)
    assert not any(one.closed for one in _fill(connections, "192.0.2.1", 10))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["come", "answering", "waiting", "leave"]),
            st.integers(0, 4),
            st.integers(0, 30),
        ),
        max_size=200,
    )
)
def test_the_counts_equal_the_open_connections(steps):
    """Law: no bound is exceeded, every open connection is counted, and while any connection waits,
    no address below its bound is refused.
    """
    connections = Connections(total_max=8, address_max=3)
    open_: dict[Held, int] = {}
    waiting: set[Held] = set()
    for what, host, which in steps:
        if what == "come":
            one = Held()
            full = sum(at == host for at in open_.values()) >= 3
            admitted = connections.admit(f"192.0.2.{host}", one)
            if not full and (waiting or len(open_) < 8):
                assert admitted
            if admitted:
                open_[one] = host
                waiting.add(one)
        elif open_:
            one = [*open_][which % len(open_)]
            getattr(connections, what)(one)
            if what == "answering":
                waiting.discard(one)
            elif what == "waiting":
                waiting.add(one)
            else:
                del open_[one]
                waiting.discard(one)
        for closed in [one for one in open_ if one.closed]:
            del open_[closed]
            waiting.discard(closed)
        assert len(connections) == len(open_) <= 8
        assert all([*open_.values()].count(host) <= 3 for host in range(5))


@pytest.mark.parametrize("connection", [Held()])
def test_leaving_twice_is_harmless(connection):
    """A connection that made room is closed a moment later and reports it again."""
    connections = Connections(total_max=2, address_max=2)
    connections.leave(connection)
    assert connections.admit("192.0.2.1", connection)
    connections.leave(connection)
    connections.leave(connection)
    assert len(connections) == 0
