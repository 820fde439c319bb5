"""ClickHouse's own Kafka engine inside chDB: rows go into a ReplacingMergeTree by event id, and the
windows are one query with FINAL at the end, inside the measured time.

chDB runs no background reading of a Kafka table, so each step is an INSERT ... SELECT from it.
"""

from chdb import session
from progress import BOOTSTRAP, EVENTS, GROUP, MINUTE_MS, STATE, TOPIC, Progress

COLUMNS = "event_id, tenant_id, model_id, metric, ts, value"
SERIES = "tenant_id {0}, model_id {0}, metric {0}, ts Int64, value Float64"
IDLE_STEPS_MAX = 60
"""a step without records takes half a second"""

TABLES = (
    "CREATE DATABASE d ENGINE = Atomic",
    (
        f"CREATE TABLE d.events (event_id String, {SERIES.format('LowCardinality(String)')}) "
        "ENGINE = ReplacingMergeTree ORDER BY event_id"
    ),
    f"CREATE TABLE d.read (event_id String, {SERIES.format('String')}) ENGINE = Null",
    "CREATE TABLE d.counts (records UInt64) ENGINE = MergeTree ORDER BY tuple()",
    f"CREATE MATERIALIZED VIEW d.into_events TO d.events AS SELECT {COLUMNS} FROM d.read",
    "CREATE MATERIALIZED VIEW d.into_counts TO d.counts AS SELECT count() AS records FROM d.read",
)
QUEUE = (
    f"CREATE TABLE d.queue (event_id String, {SERIES.format('String')}) ENGINE = Kafka SETTINGS "
    f"kafka_broker_list = '{BOOTSTRAP}', kafka_topic_list = '{TOPIC}', "
    f"kafka_group_name = '{GROUP}', kafka_format = 'JSONEachRow', kafka_num_consumers = 1, "
    "kafka_max_block_size = 100000, kafka_poll_max_batch_size = 100000, "
    "kafka_flush_interval_ms = 500, kafka_commit_on_select = 1"
)
STEP = (
    f"INSERT INTO d.read SELECT {COLUMNS} FROM d.queue "
    "SETTINGS stream_like_engine_allow_direct_select = 1"
)
WINDOWS = (
    "SELECT sum(events) FROM (SELECT count() AS events, sum(value) FROM d.events FINAL "
    f"GROUP BY intDiv(ts, {MINUTE_MS}), tenant_id, model_id, metric)"
)


def number(sql: str) -> int:
    return int(str(server.query(sql, "TSV")).strip() or 0)


progress = Progress()
server = session.Session(f"{STATE}/clickhouse")
for statement in TABLES:
    server.query(statement)
try:
    server.query(QUEUE)
except RuntimeError as error:
    # the table exists; only its background reading is refused
    if "Shutdown was called" not in str(error):
        raise

read = idle = 0
while read < EVENTS and idle < IDLE_STEPS_MAX:
    progress.about_to_read()
    server.query(STEP)
    found = number("SELECT sum(records) FROM d.counts")
    idle = idle + 1 if found == read else 0
    if found >= EVENTS:
        progress.applied = number(WINDOWS)
        progress.duplicates = found - progress.applied
    if found > read:
        progress.add(found - read)
    read = found
