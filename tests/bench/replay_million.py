"""The cost of planning and replaying a million dead letters.

python tests/bench/replay_million.py [LETTERS]

Uses the broker and the shards of the environment (or of a running local stack). Fills the DLQ of
`train.results` with letters that pass when replayed, counts them, plans, replays 2000 at 200 a
second, then all; prints wall and CPU seconds and the peak memory of the process, one JSON line
each.
"""

from __future__ import annotations

import asyncio
import json
import resource
import secrets
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from agents.app import app
from streams.cli.clients import broker_of, shards_of
from streams.core.clock import SystemClock
from streams.core.process import process_memory
from streams.core.settings import load
from streams.core.topics.topology import TRAIN_RESULTS as SOURCE
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.runtime.effects.dead_letters import Failure, Origin, dead_letter
from streams.operate.dlq.filters import Filters, OffsetRange, select
from streams.operate.dlq.queues import queues, spans_of
from streams.operate.dlq.tally import DeadLetterTally
from streams.operate.replay.plan.plan import Terms
from streams.operate.replay.plan.planner import PlanRequest, make_plan
from streams.operate.replay.run.partition_run import RunContext
from streams.operate.replay.run.run import run_plan

BLOCK = 5000
PACED = 2000
RATE = 200.0


async def fill(broker: Any, letters: int, now_ms: int) -> None:
    """Write ``letters`` dead letters over the partitions of the source, keys round robin."""
    writer = broker.transactional_producer("fills-the-dlq")
    await writer.start()
    for start in range(0, letters, BLOCK):
        await writer.begin()
        await (await writer.send_many([_letter(n, now_ms) for n in range(start, start + BLOCK)]))
        await writer.commit()
    await writer.close()


def _letter(number: int, now_ms: int) -> Any:
    value = {
        "result_id": f"r{number}", "run_id": "run", "tenant_id": "t", "model_id": f"m{number % 99}",
        "version": "1", "event": "run_completed", "metrics": {"loss": 0.5}, "ts": now_ms,
    }  # fmt: skip
    tp = TopicPartition(SOURCE.name, number % SOURCE.partitions)
    batch = RecordBatch(
        tp, number, number + 1, [number], [now_ms],
        [value["model_id"].encode()], [json.dumps(value).encode()], [()],
    )  # fmt: skip
    failure = Failure(
        code="unknown_schema_version", message="dia.schema: expected a schema version", stage="decode",
        agent="track_training", group="dia-group", attempts=1, first_failed_ms=now_ms,
    )  # fmt: skip
    return dead_letter(Origin.of(batch, 0, 0), failure, "t").record


async def stats(broker: Any) -> int:
    """Count as `dia dlq stats` does; return the number of letters."""
    admin, reader = await broker.admin(), await broker.reader()
    total, *tallies = [
        DeadLetterTally(by, 0) for by in ((), ("error",), ("tenant",), ("agent",), ("age",))
    ]
    spans = await spans_of(reader, await queues(admin, app.topology, [SOURCE.name]))
    async for page in select(reader, spans, Filters(), app.topology):
        for tally in (total, *tallies):
            tally.add(page)
    await reader.close()
    await admin.close()
    return sum(group.letters for group in total.groups())


async def measured(name: str, work: Coroutine[Any, Any, Any], count: Callable[[Any], int]) -> Any:
    """Run it and print its cost."""
    began, cpu = time.monotonic(), time.process_time()
    result = await work
    wall_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    letters = count(result)
    sys.stdout.write(
        json.dumps(
            {
                "step": name,
                "letters": letters,
                "wall_s": round(wall_s, 1),
                "cpu_s": round(cpu_s, 1),
                "per_wall_s": round(letters / wall_s),
                "per_cpu_s": round(letters / cpu_s) if cpu_s else None,
                "max_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
            }
        )
        + "\n"
    )
    sys.stdout.flush()
    return result


async def main(letters: int) -> None:
    """Fill, plan, replay at a rate, replay all."""
    process_memory.settle()  # as the commands do
    settings, clock = load()[0], SystemClock()
    broker, shards = broker_of(settings), await shards_of(settings, app.topology)
    await measured("fill", fill(broker, letters, clock.now_ms()), lambda _: letters)

    def request(filters: Filters) -> PlanRequest:
        return PlanRequest(
            source=SOURCE,
            filters=filters,
            terms=Terms(),
            id=f"bench-{secrets.token_hex(4)}",
            actor="bench",
            asked={},
        )

    def means(rate: float | None) -> RunContext:
        return RunContext(
            broker=broker, shards=shards, clock=clock, settings=settings, topology=app.topology,
            actor="bench",
            run=secrets.token_hex(8), rate=rate,
        )  # fmt: skip

    def planned(filters: Filters) -> Coroutine[Any, Any, Any]:
        return make_plan(
            broker, clock, settings, app.topology, request(filters), lambda at, end: None
        )

    await measured("stats", stats(broker), lambda counted: counted)
    draft = await measured("plan", planned(Filters()), lambda found: found.scanned)
    tail = max(s.end for s in draft.plan.selections) - PACED // SOURCE.partitions - 10
    paced = (await planned(Filters(offsets=(OffsetRange(tail, 1 << 60),), limit=PACED))).plan
    await measured(
        f"run --rate {RATE:g}",
        run_plan(means(RATE), paced, resume=False),
        lambda result: result.replayed,
    )
    await measured(
        "run", run_plan(means(None), draft.plan, resume=False), lambda result: result.replayed
    )
    if shards is not None:
        await shards.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000))
