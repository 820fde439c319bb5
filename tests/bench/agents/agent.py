"""One Faust-style agent, run by either engine: only the import differs."""

import os

from progress import BOOTSTRAP, EVENTS, GROUP, STATE, TOPIC, Progress

if os.environ["BENCH_ENGINE"] == "faust":
    from faust import App, Record
else:
    from streams import App, Record

progress = Progress()
app = App(
    GROUP,
    broker=f"kafka://{BOOTSTRAP}",
    store="rocksdb://",
    datadir=STATE,
    topic_partitions=4,
    topic_replication_factor=1,
    table_standby_replicas=0,
    web_enabled=False,
)


class Event(Record):
    event_id: str
    tenant_id: str
    model_id: str
    metric: str
    ts: int
    value: float


events = app.topic(TOPIC, key_type=str, value_type=Event)
sent = app.topic(f"{TOPIC}-sent", key_type=str, value_type=float)
amounts = app.Table("amounts", default=float)
counts = app.Table("counts", default=int)


async def no_work(stream):
    async for _ in stream:
        progress.add()


async def one_update(stream):
    async for event in stream:
        amounts[event.tenant_id] += event.value
        progress.add()


async def two_updates_and_a_send(stream):
    async for event in stream:
        amounts[event.tenant_id] += event.value
        counts[event.tenant_id] += 1
        await sent.send(key=event.tenant_id, value=amounts[event.tenant_id])
        progress.add()


WORK = {body.__name__: body for body in (no_work, one_update, two_updates_and_a_send)}
handle = app.agent(events, name="handle")(WORK[os.environ["BENCH_WORK"]])

if __name__ == "__main__":
    assert EVENTS, "told by the bench"
    app.main()
