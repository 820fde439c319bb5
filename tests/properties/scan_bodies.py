"""Bodies of records, most of them nearly right, and whether the scanner reads them as `decode` does.

``python -m tests.properties.scan_bodies --bodies 2000000`` tries so many, on ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
from dataclasses import replace
from typing import Annotated, Any

import msgspec
import numpy as np

from agents.app import MODEL_METRICS
from streams.core import kernels
from streams.core.types import RecordBatch, TopicPartition
from streams.engine.app.app import App
from streams.engine.decode.codecs import Limits, decode
from streams.engine.decode.scanning import Scanner

T_MS = 1_700_000_000_000
LIMITS = Limits(300, 604_800)


class Reading(msgspec.Struct, rename="camel", kw_only=True):
    """A record type with every kind of field that is scanned."""

    device_id: str
    taken_at: int
    note: str | None = None
    site: Annotated[str, msgspec.Meta(max_length=5)] | None
    level: Annotated[int, msgspec.Meta(gt=-5, lt=100)] | None = None
    count: int
    heat: Annotated[float, msgspec.Meta(gt=0.0, le=1e3)] | None = None
    ratio: float = 0.5


READINGS = App("scans").topic(
    "readings", schema="reading", versions={1: Reading}, partitions=1, key_field="device_id",
    time_field="taken_at",
)  # fmt: skip
TOPICS = (MODEL_METRICS, READINGS)
FIELDS = {
    MODEL_METRICS.name: ("event_id", "tenant_id", "model_id", "metric", "ts", "value", "run_id"),
    READINGS.name: ("deviceId", "takenAt", "note", "site", "level", "count", "heat", "ratio"),
}
TIMES = ("ts", "takenAt")

_TEXTS = (
    "t", "tenant-7", "0123456789abcdef0123456789abcdef", "x" * 128, "x" * 129, "", "é", "a\\u0041",
    "\\n", "\\ud83d\\ude00", "\\ud800", "a\x7fb", "a\x01b", "a/b", "'", "日本語", "eight888", "seven77",
)  # fmt: skip
_NUMBERS = (
    "0", "-0", "0.0", "-0.0", "1", "-1", "1.5", "0.1", "1e5", "1E+5", "1e-5", "1.0", "01", "1.", ".5",
    "1e", "1e+", "+1", "--1", "1e22", "1e23", "1e150", "1.0000000000000001e150", "1e151", "1e308",
    "1e309", "1e400", "1e-308", "1e-324", "2.2250738585072014e-308", "5e-324", "9007199254740993",
    "9007199254740992.5", "18446744073709551615", "18446744073709551616", "9223372036854775807",
    "9223372036854775808", "-9223372036854775808", "999999999999999999", "1000000000000000000",
    "123456789012345678901234567890", "0.00000000000000000000000000012345", "1e00005", "1e99999",
    "0e0", "0e99999", "NaN", "Infinity", "nul", "null", "true", "1_0", "1 ", "0x1", "99", "100", "-5", "-4",
    "1000.0", "1000.0000000000001", "1e3",
)  # fmt: skip
_ODD = ('{"a":1}', "[1]", "true", '""', "{}", '{"a":' * 40 + "1" + "}" * 40)


def _number(draw: random.Random) -> str:
    """A number in one of the ways in which programs write them."""
    kind = draw.randrange(6)
    if kind == 0:
        return draw.choice(_NUMBERS)
    if kind == 1:
        return str(draw.randrange(-(10 ** draw.randrange(1, 22)), 10 ** draw.randrange(1, 22)))
    if kind == 2:
        return repr(struct.unpack("<d", draw.randbytes(8))[0])
    if kind == 3:
        digits = str(draw.randrange(10 ** draw.randrange(1, 20)))
        return f"{digits}.{draw.randrange(10 ** draw.randrange(1, 12))}e{draw.randrange(-330, 330)}"
    return repr(draw.lognormvariate(0, 2))


def _value(draw: random.Random, name: str) -> str:
    if draw.random() < 0.02:
        return draw.choice((*_ODD, *_NUMBERS, "null"))
    if name in TIMES:
        if draw.random() < 0.9:
            return str(T_MS + draw.choice((0, 1, 2, 3, -1, 300_000, 300_001, -604_800_000)))
        return _number(draw)
    if name in ("value", "heat", "ratio", "level", "count"):
        if name in ("level", "count") and draw.random() < 0.9:
            return str(draw.randrange(-4, 100))
        return _number(draw) if draw.random() < 0.98 else "null"
    if draw.random() < 0.95:
        return json.dumps(draw.choice(("t", "t-7", "m", "loss", "abcd", "abcde", "abcdef")))
    return draw.choice((f'"{draw.choice(_TEXTS)}"', "null"))


def body(draw: random.Random, names: tuple[str, ...]) -> bytes:
    """One body, about half of which are good."""
    chosen = [name for name in names if draw.random() < 0.99]
    if draw.random() < 0.2:
        draw.shuffle(chosen)
    if draw.random() < 0.03:
        chosen.append(draw.choice((*names, "other", "tsx", "t", "", "valu\\u0065")))
    pairs = [f'"{name}":{_value(draw, name)}' for name in chosen]
    text = "{" + ",".join(pairs) + "}"
    if draw.random() < 0.02:
        text = text.replace(",", draw.choice((", ", ",,", "\t,", ",\n")))
    raw = text.encode()
    if draw.random() < 0.15:
        at = draw.randrange(len(raw))
        raw = draw.choice(
            (
                raw[:at],
                raw[at:],
                raw[:at] + draw.randbytes(1) + raw[at + 1 :],
                raw[:at] + raw[at + 1 :],
                raw[:at] + draw.choice((b'"', b"{", b"}", b",", b" ", b"\\", b"0")) + raw[at:],
                raw + draw.choice((b"}", b" ", b"\0", b"x")),
            )
        )
    return raw


def batch_of(draw: random.Random, topic: Any, count: int) -> RecordBatch:
    """Records with such bodies; of most the key is right."""
    values = [body(draw, FIELDS[topic.name]) for _ in range(count)]
    keys: list[bytes | None] = []
    for raw in values:
        try:
            named = json.loads(raw)[{"model.metrics": "tenant_id"}.get(topic.name, "deviceId")]
            keys.append(str(named).encode())
        except (ValueError, LookupError, TypeError, RecursionError):
            keys.append(draw.choice((None, b"t", b"")))
        if draw.random() < 0.01:
            keys[-1] = draw.choice((None, b"u", b"t-71"))
    return RecordBatch(
        TopicPartition(topic.name, 0), 0, count, [*range(count)], [T_MS] * count, keys,
        [None if draw.random() < 0.001 else raw for raw in values], [()] * count,
    )  # fmt: skip


def differences(topic: Any, batch: RecordBatch) -> list[str]:
    """How the scanner's answer differs from that of `decode`."""
    scanner = Scanner.of(topic)
    assert scanner is not None, "the topic is scanned"
    # Of any share of slow records, columns must be right.
    scanner = replace(scanner, slow_share_max=1.0)
    scanned, plain = scanner.decode(batch, LIMITS), decode(topic, batch, LIMITS)
    if scanned.bad != plain.bad or _listed(scanned.positions) != _listed(plain.positions):
        return [f"other records are bad: {scanned.bad} instead of {plain.bad}"]
    found = [
        f"{name} differ"
        for name in ("event_ms", "append_ms")
        if getattr(scanned, name).tolist() != getattr(plain, name).tolist()
    ]
    if [*scanned.events] != plain.events:
        found.append("events differ")
    if scanned.fields is None:
        return found
    for name, place in scanner.table.places.items():
        expected = [getattr(event, name) for event in plain.events]
        row = scanner.table.shape[place]
        lacking = scanned.fields.lacking(name)
        if row[0] == 0:
            columns = scanned.fields.texts(name).texts()
        else:
            there = scanned.fields.take(np.flatnonzero(~lacking))
            column = iter((there.wholes(name) if row[0] == 1 else there.numbers(name)).tolist())
            columns = [None if lacks else next(column) for lacks in lacking]
        for at, (one, other) in enumerate(zip(columns, expected, strict=True)):
            # Bit for bit: 0.0 is not -0.0.
            same = one == other and (
                not isinstance(one, float) or np.signbit(one) == np.signbit(other)
            )
            if not same:
                found.append(f"{name} of {batch.values[at]!r}: {one!r} instead of {other!r}")
    return found


def _listed(positions: Any) -> list[int] | None:
    return None if positions is None else [*map(int, positions)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if why := kernels.load():
        print(f"no kernels: {why}")
        return 1
    draw, began, tried, slow = random.Random(asked.seed), time.monotonic(), 0, 0
    while tried < asked.bodies:
        topic = TOPICS[draw.randrange(2)]
        batch = batch_of(draw, topic, 500)
        if found := differences(topic, batch):
            print(*found, sep="\n")
            return 1
        tried += 500
        slow += sum(scanner_says_slow(topic, batch))
    print(f"{tried} bodies, {slow} slow, none differs, {time.monotonic() - began:.0f} s")
    return 0


def scanner_says_slow(topic: Any, batch: RecordBatch) -> list[bool]:
    """Which records the kernels leave to `decode`."""
    scanner = Scanner.of(topic)
    assert scanner is not None, "the topic is scanned"
    slow = np.zeros(len(batch), np.bool_)
    scanner.scan(batch, slow)
    return slow.tolist()


if __name__ == "__main__":
    sys.exit(main())
