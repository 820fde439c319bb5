"""A client that is opened for one block is closed at every exit from the block."""

from __future__ import annotations

import pytest

from streams.connect.broker.opened import opened


class Client:
    closed = 0

    async def close(self) -> None:
        self.closed += 1


async def connecting(client: Client, error: Exception | None = None) -> Client:
    if error is not None:
        raise error
    return client


async def test_a_block_closes_its_client_once_also_when_it_raises():
    """A failing command must not leave a connection open."""
    client = Client()

    async def block() -> None:
        async with opened(connecting(client)) as found:
            assert found is client
            assert client.closed == 0
            raise LookupError

    with pytest.raises(LookupError):
        await block()
    assert client.closed == 1


async def test_the_second_client_closes_the_first_when_it_cannot_connect():
    """With two clients in one statement, the broker may be lost between them."""
    client = Client()
    with pytest.raises(OSError, match="away"):
        async with opened(connecting(client)), opened(connecting(Client(), OSError("away"))):
            raise AssertionError
    assert client.closed == 1
