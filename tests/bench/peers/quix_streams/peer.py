"""Quix Streams with exactly-once processing: ids and windows in the state of the message key.

Its own windows would need a group_by through another topic, and would drop records behind the
watermark of the re-keyed partition: more than half of a backlog. State by hand loses nothing.
"""

from progress import BOOTSTRAP, GROUP, MINUTE_MS, STATE, TOPIC, Progress
from quixstreams import Application

progress = Progress()
app = Application(
    broker_address=BOOTSTRAP,
    consumer_group=GROUP,
    auto_offset_reset="earliest",
    state_dir=STATE,
    processing_guarantee="exactly-once",
    loglevel="WARNING",
)


def fold(event, state):
    if state.exists(event["event_id"]):
        progress.duplicates += 1
    else:
        state.set(event["event_id"], 1)
        minute = event["ts"] // MINUTE_MS
        window = f"{minute}|{event['model_id']}|{event['metric']}"
        count, total = state.get(window) or (0, 0.0)
        state.set(window, (count + 1, total + event["value"]))
        progress.applied += 1
    progress.add()
    if progress.done:
        app.stop()


topic = app.topic(TOPIC, value_deserializer="json", key_deserializer="str")
app.dataframe(topic).update(fold, stateful=True)

if __name__ == "__main__":
    app.run()
