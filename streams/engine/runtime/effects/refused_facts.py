"""Effects whose rows a shard or a sink refused, until the commit that turns those rows into dead letters.

The effect stays owed until then, so a crash in between only asks the target again. A row that a
newer version replaces (the ledger's, with every commit) needs no letter: the newer one says more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from streams.engine.runtime.effects.refused_row import RefusedFact
from streams.engine.state.outbox import Outbox

DEAD_LETTERS = "dead_letters"

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RefusedFacts:
    """The refused rows of one partition, by effect."""

    _effects: list[tuple[bytes, int, Sequence[RefusedFact]]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._effects)

    def add(self, key: bytes, seq: int, refused: Sequence[RefusedFact]) -> None:
        """All rows of version ``seq`` of the effect are stored but these."""
        self._effects.append((key, seq, refused))

    def settle(self, outbox: Outbox) -> list[RefusedFact]:
        """Acknowledge the effects; the rows that the commit being prepared must dead-letter."""
        effects, self._effects = self._effects, []
        buried: list[RefusedFact] = []
        for key, seq, refused in effects:
            if not outbox.acknowledged(key, seq):
                continue
            for fact in refused:
                if fact.table == DEAD_LETTERS:
                    # The dead letter is in Kafka: one about the row would be refused like the row.
                    log.error("dead_letter_row_not_written", id=fact.row["id"], why=fact.reason)
                else:
                    buried.append(fact)
        return buried
