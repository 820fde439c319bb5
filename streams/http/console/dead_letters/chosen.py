"""Which dead letters a request is about: filters, or single ones."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from streams.connect.access.refusals import BadRequest
from streams.core.words.moments import moment_s
from streams.http.console.access.authorizer import Principal
from streams.http.console.dead_letters.letters import tenants_of
from streams.operate.dlq.filters import Filters, QueuePlace

LETTERS_MAX: Final = 1_000
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


class Chosen(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """``letters``: places in the DLQ of ``topic``, as lists of dead letters name them."""

    topic: str | None = None
    error: list[str] = []
    path: list[str] = []
    agent: list[str] = []
    tenant: list[str] = []
    since: str | None = None
    until: str | None = None
    partition: list[int] = []
    letters: list[str] = []


def filters_of(holder: Principal, chosen: Chosen, now_s: float) -> Filters:
    """A bound token chooses among its own dead letters only. Raises `BadRequest`, `Forbidden`,
    `UsageError`."""
    named = tenants_of(holder, chosen.tenant)
    return Filters(
        since_ms=_moment_ms(chosen.since, "since", now_s),
        until_ms=_moment_ms(chosen.until, "until", now_s),
        errors=tuple(chosen.error),
        paths=tuple(chosen.path),
        agents=tuple(chosen.agent),
        tenants=named if holder.token.tenant is None else (holder.token.tenant,),
        owner=holder.token.tenant,
        partitions=tuple(chosen.partition),
        places=_places(chosen.letters) if chosen.letters else None,
    )


def _places(letters: list[str]) -> frozenset[QueuePlace]:
    if len(letters) > LETTERS_MAX:
        raise BadRequest(f"at most {LETTERS_MAX} letters are chosen one by one: use filters")
    found = set()
    for place in letters:
        numbers = place.rsplit("/", 2)[1:]
        if len(numbers) != 2 or not all(_NUMBER.fullmatch(number) for number in numbers):
            raise BadRequest("letters are places: TOPIC.dlq/PARTITION/OFFSET")
        found.add(QueuePlace(int(numbers[0]), int(numbers[1])))
    return frozenset(found)


def _moment_ms(text: str | None, name: str, now_s: float) -> int | None:
    return None if not text else moment_s(text, name, now_s) * 1000
