"""An event as Python peers decode it, with the decoder that dia uses."""

import msgspec


class Event(msgspec.Struct):
    event_id: str
    tenant_id: str
    model_id: str
    metric: str
    ts: int
    value: float


decode = msgspec.json.Decoder(Event).decode
