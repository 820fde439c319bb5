"""Hints about lines that a person wrote: names that are misspelt, and times in another form."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from streams.core.records.bad_records import MissingField, WrongType
from streams.core.topics.topic import Topic
from streams.core.words.near_names import did_you_mean, near_names
from streams.engine.decode.codecs import BadPosition

LOOKED_AT_MAX: Final = 1000
"""Lines of a file in which unknown fields are searched: to parse every line again would halve the rate."""


class LineHints:
    def __init__(self, topic: Topic, version: int) -> None:
        self._time_field = topic.time_field
        self._fields = _names(topic.versions[version])
        self._said: set[str] = set()
        self._left = LOOKED_AT_MAX

    def of_refused(self, line: bytes, bad: BadPosition) -> str:
        """A sentence that begins with a space; empty where there is nothing to add."""
        event = _object(line)
        if bad.code == WrongType.code and bad.path == f"$.{self._time_field}":
            return _milliseconds(event.get(self._time_field))
        name = bad.path.removeprefix("$.")
        if bad.code == MissingField.code and name not in event:
            unknown = [one for one in event if one not in self._fields]
            return _renamed(name, unknown)
        return ""

    def of_unknown(self, lines: Sequence[bytes]) -> Iterator[str]:
        """A sentence for each field that the type does not have, once; from the first lines of a file."""
        if not self._fields or not self._left:
            return
        looked_at, self._left = lines[: self._left], max(0, self._left - len(lines))
        for line in looked_at:
            for name in _object(line).keys() - self._fields - self._said:
                self._said.add(name)
                near = did_you_mean(name, self._fields)
                yield f"the event type has no field {json.dumps(name)}: agents do not see it.{near}"


def _names(kind: Any) -> frozenset[str]:
    """Fields as they are spelt in JSON; empty for a type that is no struct, or that refuses unknown ones."""
    if not isinstance(kind, type) or not issubclass(kind, msgspec.Struct):
        return frozenset()
    config = kind.__struct_config__
    tag = {config.tag_field} if config.tag_field else set()
    return frozenset(kind.__struct_encode_fields__) | tag


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _milliseconds(value: Any) -> str:
    """Of an ISO 8601 time."""
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return ""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return f" Write it as milliseconds since 1970: {round(moment.timestamp() * 1000)}."


def _renamed(name: str, unknown: Sequence[str]) -> str:
    near = near_names(name, unknown)
    return f" The line has {json.dumps(near[0])}: rename it." if near else ""
