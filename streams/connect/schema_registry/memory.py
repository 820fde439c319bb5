"""A schema registry in memory, for `streams.testing` and the simulation."""

from __future__ import annotations

from dataclasses import dataclass, field

from streams.core.errors import SchemaRefused, SchemaRegistryUnavailable
from streams.core.formats.schema_source import RegisteredSchema, Subject


@dataclass
class MemoryRegistry:
    """``away``: it does not answer. Any schema is compatible."""

    away: bool = False
    asked: int = 0
    """answered or not"""
    _ids: dict[tuple[str, str, tuple[tuple[str, str], ...]], int] = field(default_factory=dict)
    _schemas: dict[int, RegisteredSchema] = field(default_factory=dict)
    _subjects: dict[str, list[int]] = field(default_factory=dict)

    async def schema(self, schema_id: int) -> RegisteredSchema | None:
        self._answer()
        return self._schemas.get(schema_id)

    async def register(self, subject: Subject) -> int:
        self._answer()
        return self.put(subject)

    def put(self, subject: Subject) -> int:
        """Even while ``away``; returns its id. Raises `SchemaRefused` as `register`."""
        references = tuple(
            (one.name, self._schemas[self._subjects[one.subject][one.version - 1]].text)
            for one in subject.references
        )
        key = (subject.kind, subject.text, references)
        versions = self._subjects.setdefault(subject.name, [])
        known = self._ids.get(key)
        if known not in versions and not subject.register:
            raise SchemaRefused(f"subject {subject.name} does not have this schema")
        if known is None:
            known = self._ids[key] = len(self._ids) + 1
            self._schemas[known] = RegisteredSchema(*key)
        if known not in versions:
            versions.append(known)
        return known

    def _answer(self) -> None:
        self.asked += 1
        if self.away:
            raise SchemaRegistryUnavailable("the schema registry in memory is unavailable")
