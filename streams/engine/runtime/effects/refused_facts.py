"""Effects with rows that a shard or sink refused, until a commit dead-letters these rows.

The effect is owed until then: after a crash the target is asked again. If a newer version replaced
the row (each commit replaces the ledger's), no dead letter is written.
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
    _effects: list[tuple[bytes, int, Sequence[RefusedFact]]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self._effects)

    def add(self, key: bytes, seq: int, refused: Sequence[RefusedFact]) -> None:
        self._effects.append((key, seq, refused))

    def settle(self, outbox: Outbox) -> list[RefusedFact]:
        """Acknowledge the effects; the rows to dead-letter in the commit being prepared."""
        effects, self._effects = self._effects, []
        buried: list[RefusedFact] = []
        for key, seq, refused in effects:
            if not outbox.acknowledged(key, seq):
                continue
            for fact in refused:
                if fact.table == DEAD_LETTERS:
                    # This dead letter is in Kafka; one about its row would be refused too.
                    log.error("dead_letter_row_not_written", id=fact.row["id"], why=fact.reason)
                else:
                    buried.append(fact)
        return buried
