"""What a program that embeds the console adds to it: pages and routes that `dia console` does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from streams.http.console.access.authorizer import Authorizer
from streams.http.console.reply import Endpoint


class ConsoleAddition(NamedTuple):
    """``pages``: names of pages to show. ``routes``: (method, path) to its endpoint; each asks the authorizer."""

    pages: tuple[str, ...] = ()
    routes: Callable[[Authorizer], Mapping[tuple[str, str], Endpoint]] = lambda gate: {}


NOTHING_ADDED = ConsoleAddition()
