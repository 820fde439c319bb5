"""train.results -> what is known of each model -> ClickHouse, and every cache that holds it.

In: `TrainingResult`s, partitioned by model. State: `seen_results` (a repeated result id is dropped,
one with another payload is a dead letter `idempotency_conflict`) and `model_cards`. What is beyond
a tenant's share of either is a dead letter `over_quota`.
Out: a row of `training_runs` per result, the newest card of each model as a row of `models`, the
card written through to the model cache, and the events RunCompleted, AliasUpdated and
StageTransitioned on Redis. All of it after the commit, and until it is acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from agents.clickhouse_tables import MODELS, TRAINING_RUNS
from schemas.training import TrainingResult
from streams import Change, EventBatch, Scope
from streams.connect.cache.kind import MODEL, owned
from streams.core.records.bad_records import IdempotencyConflict, RowUnfit, TenantOverQuota
from streams.core.records.model_card import ModelCard
from streams.engine.engine_tables import SEEN_EVENTS
from streams.engine.identities.id_shares import Owners
from streams.engine.identities.seen_events import Verdict
from tables.model_cards import MODEL_CARDS, ModelCards

EVENTS: Final[Mapping[str, str]] = {
    "run_completed": "RunCompleted",
    "alias_updated": "AliasUpdated",
    "stage_transitioned": "StageTransitioned",
}
"""Kind of a result, and the name of the event that Redis publishes for it."""

_IDS_OVER_QUOTA: Final = (
    "the tenant has its share of the result ids that the partition remembers (DIA_QUOTA_IDS, "
    "DIA_MAX_IDS); they are forgotten after DIA_DEDUPE_TTL_S"
)
_MODELS_OVER_QUOTA: Final = (
    "a model that is not known, of a tenant that has its share of the partition's "
    "(DIA_QUOTA_MODELS, DIA_MAX_MODELS); one is free again DIA_MODEL_RETENTION_DAYS after its last result"
)

_encode = msgspec.msgpack.Encoder(order="sorted").encode
_json = msgspec.json.Encoder().encode


def record_training(batch: EventBatch[TrainingResult], scope: Scope) -> None:
    """Refuse what is over quota or contradicts itself, drop repeats, record the rest."""
    cards = scope.table(MODEL_CARDS)
    spans = cards.spans(batch.appended_ms())
    for span in spans:
        cards.begin(span)
        at = np.arange(len(batch))
        part = batch if len(spans) == 1 else batch.keep((span.start <= at) & (at < span.stop))
        _record(part, scope, cards)


def _record(batch: EventBatch[TrainingResult], scope: Scope, cards: ModelCards) -> None:
    """Events during which no model is forgotten."""
    batch = _within_quota(batch, scope, cards)
    if not batch.events:
        return
    verdicts = _admit(batch, scope)
    told: dict[tuple[str, str], list[bytes]] = {}
    applied = duplicates = 0
    for index, (event, verdict) in enumerate(zip(batch.events, verdicts, strict=True)):
        if verdict == Verdict.CONFLICT:
            scope.dead_letter(
                batch.row(index),
                IdempotencyConflict.code,
                f"result_id {event.result_id!r} came before with another payload within "
                f"DIA_DEDUPE_TTL_S",
                event.tenant_id,
            )
        elif verdict == Verdict.OVER_QUOTA:
            scope.dead_letter(
                batch.row(index), TenantOverQuota.code, _IDS_OVER_QUOTA, event.tenant_id
            )
        elif verdict == Verdict.FRESH:
            try:
                scope.fact(TRAINING_RUNS, _run_row(event, batch, index))
            except RowUnfit as error:
                scope.dead_letter(batch.row(index), error.code, str(error), event.tenant_id)
                continue
            applied += 1
            _apply(cards, event)
            told.setdefault((event.tenant_id, event.model_id), []).append(_event(event))
        else:
            duplicates += 1
    for (tenant_id, model_id), events in told.items():
        card = cards.get(tenant_id, model_id)
        assert card is not None, "it was just written"
        _tell(scope, card, events)
    scope.count(applied=applied, duplicates=duplicates)


def _within_quota(
    batch: EventBatch[TrainingResult], scope: Scope, cards: ModelCards
) -> EventBatch[TrainingResult]:
    """The events of models that are known, or that their tenants may bring. The others are dead
    letters, of which no id is remembered."""
    new: dict[str, set[str]] = {}
    kept = np.ones(len(batch), np.bool_)
    for index, event in enumerate(batch.events):
        tenant, model = event.tenant_id, event.model_id
        if cards.get(tenant, model) is not None:
            continue
        brought = new.setdefault(tenant, set())
        others = sum(map(len, new.values())) - len(brought)
        if model in brought or len(brought) < cards.room(tenant, others):
            brought.add(model)
            continue
        kept[index] = False
        scope.dead_letter(batch.row(index), TenantOverQuota.code, _MODELS_OVER_QUOTA, tenant)
    return batch if kept.all() else batch.keep(kept)


def _admit(batch: EventBatch[TrainingResult], scope: Scope) -> NDArray[np.int8]:
    """First seen, repeated, or in conflict, per event."""
    events = batch.events
    prints = scope.fingerprints
    hi, lo = prints.identities(
        [event.result_id for event in events],
        prints.tenants([event.tenant_id for event in events]),
        [None] * len(events),
    )
    said = prints.said([_encode(_said(event)) for event in events])
    times = batch.appended_ms(), batch.log()
    codes: dict[str, int] = {}
    coded = [codes.setdefault(event.tenant_id, len(codes)) for event in events]
    owners = Owners(np.array(coded, np.int64), list(codes))
    return scope.table(SEEN_EVENTS).admit(hi, lo, said, *times, owners)


def _said(event: TrainingResult) -> tuple[object, ...]:
    """The decoded fields: white space and unknown fields do not make a repeat a conflict."""
    return (
        *(event.run_id, event.model_id, event.version, event.event),
        *(event.alias, event.stage, event.metrics, event.ts),
    )


def _apply(cards: ModelCards, event: TrainingResult) -> None:
    card = cards.open(event.tenant_id, event.model_id)
    if event.event == "run_completed":
        cards.run_completed(card, event.version, event.run_id, event.ts, event.metrics)
    elif event.event == "alias_updated":
        assert event.alias is not None, "the family needs it"
        cards.alias_updated(card, event.version, event.alias, event.ts)
    else:
        assert event.stage is not None, "the family needs it"
        cards.stage_transitioned(card, event.version, event.stage, event.ts)


def _run_row(
    event: TrainingResult, batch: EventBatch[TrainingResult], index: int
) -> dict[str, object]:
    """A row of `training_runs`, without what the commit adds."""
    return {
        "tenant": event.tenant_id,
        "model": event.model_id,
        "version": event.version,
        "run": event.run_id,
        "result_id": event.result_id,
        "event": event.event,
        "alias": event.alias or "",
        "stage": event.stage or "",
        "metrics": event.metrics,
        "ts": event.ts,
        "part": batch.records.tp.partition,
        "off": batch.records.offsets[batch.row(index)],
    }


def _event(event: TrainingResult) -> bytes:
    """The message that Redis publishes to its subscribers."""
    return _json(
        {
            "event": EVENTS[event.event],
            "tenant_id": event.tenant_id,
            "model_id": event.model_id,
            "version": event.version,
            "run_id": event.run_id,
            "alias": event.alias,
            "stage": event.stage,
            "ts": event.ts,
        }
    )


def _tell(scope: Scope, card: ModelCard, events: Sequence[bytes]) -> None:
    name = owned(card.tenant_id, card.model_id)
    body = _json(card)
    row = {"tenant": card.tenant_id, "model": card.model_id, "card": body.decode()}
    scope.fact(MODELS, row)
    scope.change(Change(MODEL.name, name, body, tuple(events)))
