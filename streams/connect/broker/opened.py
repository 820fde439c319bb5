"""Context manager of broker clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar


class _Client(Protocol):
    async def close(self) -> None: ...


C = TypeVar("C", bound=_Client)


@asynccontextmanager
async def opened(client: Awaitable[C]) -> AsyncIterator[C]:
    """Close the client after the block: ``async with opened(broker.admin()) as admin``."""
    found = await client
    try:
        yield found
    finally:
        await found.close()
