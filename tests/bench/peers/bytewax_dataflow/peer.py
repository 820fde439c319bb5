"""Bytewax as in its documentation: stateful dedupe, tumbling windows, SQLite recovery."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators.windowing import EventClock, TumblingWindower, fold_window
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from bytewax.testing import TestingSink
from event import decode
from progress import BOOTSTRAP, STATE, TOPIC, Progress

progress = Progress()


def by_id(message):
    event = decode(message.value)
    return event.event_id, event


def first(seen, event):
    if seen:
        progress.duplicates += 1
        progress.add()
        return True, []
    return True, [event]


def by_series(identified):
    _, event = identified
    at = datetime.fromtimestamp(event.ts / 1000, UTC)
    return f"{event.tenant_id}|{event.model_id}|{event.metric}", (at, event.value)


def fold(window, timed):
    progress.applied += 1
    progress.add()
    count, total = window
    return count + 1, total + timed[1]


def merge(one, other):
    return one[0] + other[0], one[1] + other[1]


# With a backlog, the default clock wakes every open window on every activation, without effect.
clock = EventClock(lambda timed: timed[0], timedelta(minutes=2), to_system_utc=lambda _: None)
minutes = TumblingWindower(timedelta(minutes=1), datetime(2020, 1, 1, tzinfo=UTC))

flow = Dataflow("peer")
stream = op.input("in", flow, KafkaSource([BOOTSTRAP], [TOPIC], tail=False, batch_size=1000))
stream = op.map("by_id", stream, by_id)
stream = op.stateful_flat_map("dedupe", stream, first)
stream = op.map("by_series", stream, by_series)
windows = fold_window("windows", stream, clock, minutes, lambda: (0, 0.0), fold, merge)
# Closed windows are dropped at once: the sink must cost nothing.
op.output("out", op.filter("drop", windows.down, lambda _: False), TestingSink([]))

if __name__ == "__main__":
    recovery = Path(STATE)
    init_db_dir(recovery, 1)
    cli_main(
        flow,
        workers_per_process=1,
        epoch_interval=timedelta(seconds=5),
        recovery_config=RecoveryConfig(recovery, backup_interval=timedelta(0)),
    )
