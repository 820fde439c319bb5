"""Faust as in its documentation: one agent, two RocksDB tables with changelogs."""

import sys

import faust
from event import decode
from progress import BOOTSTRAP, GROUP, STATE, TOPIC, Progress

progress = Progress()
event_s = [0.0]

app = faust.App(
    GROUP,
    broker=f"kafka://{BOOTSTRAP}",
    store="rocksdb://",
    datadir=STATE,
    topic_partitions=4,
    topic_replication_factor=1,
    table_standby_replicas=0,
    web_enabled=False,
)
events = app.topic(TOPIC, key_type=bytes, value_type=bytes, value_serializer="raw")
ROCKSDICT = {"driver": "rocksdict", "block_cache_size": 64 << 20}
seen = app.Table("seen", default=bool, partitions=4, options=ROCKSDICT)
windows = app.Table("windows", default=list, partitions=4, options=ROCKSDICT)
minutes = windows.tumbling(60.0, expires=3600.0).relative_to(lambda _: event_s[0])


@app.agent(events)
async def fold(stream):
    async for value in stream:
        event = decode(value)
        if seen[event.event_id]:
            progress.duplicates += 1
        else:
            seen[event.event_id] = True
            event_s[0] = event.ts / 1000
            series = f"{event.tenant_id}|{event.model_id}|{event.metric}"
            count, total = minutes[series].value() or (0, 0.0)
            minutes[series] = [count + 1, total + event.value]
            progress.applied += 1
        progress.add()


if __name__ == "__main__":
    sys.argv = ["faust", "worker", "-l", "warn", "--without-web"]
    app.main()
