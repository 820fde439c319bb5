"""Record bodies, most of them nearly valid, to compare the scanner with `decode`.

``python -m tests.properties.scan_bodies --bodies 2000000`` tries that many, from ``--seed``.
"""

from __future__ import annotations

import argparse
import json
import random
import re
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
    """A record type with every kind of scanned field."""

    device_id: str
    taken_at: int
    note: str | None = None
    site: Annotated[str, msgspec.Meta(max_length=5)] | None
    level: Annotated[int, msgspec.Meta(gt=-5, lt=100)] | None = None
    count: int
    heat: Annotated[float, msgspec.Meta(gt=0.0, le=1e3)] | None = None
    ratio: float = 0.5


class Closed(msgspec.Struct, forbid_unknown_fields=True, rename={"size": "größe"}):
    """A type that forbids unknown fields and has a non-ASCII field name."""

    city: str
    size: float
    note: str | None = None


_SCANS = App("scans")
READINGS = _SCANS.topic(
    "readings", schema="reading", versions={1: Reading}, partitions=1, key_field="device_id",
    time_field="taken_at",
)  # fmt: skip
CLOSED = _SCANS.topic(
    "closed", schema="closed", versions={1: Closed}, partitions=1, key_field="city"
)
TOPICS = (MODEL_METRICS, READINGS, CLOSED)
FIELDS = {
    MODEL_METRICS.name: ("event_id", "tenant_id", "model_id", "metric", "ts", "value", "run_id"),
    READINGS.name: ("deviceId", "takenAt", "note", "site", "level", "count", "heat", "ratio"),
    CLOSED.name: ("city", "größe", "note"),
}
KEYS = {MODEL_METRICS.name: "tenant_id", READINGS.name: "deviceId", CLOSED.name: "city"}
TIMES = ("ts", "takenAt")
_DECODERS = {topic.name: msgspec.json.Decoder(topic.type) for topic in TOPICS}
_MUTANTS = 40
NUMBERS = ("value", "heat", "ratio", "level", "count", "größe")

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
_CHARACTERS = (
    *"abz09 /'~\x7f", *'"\\\b\f\n\r\t\0\x1f', "\x80", "é", "\u07ff", "\u0800", "日", "\ud7ff", "\ue000",
    "\ufeff", "\uffff", "\U00010000", "😀", "\U0010ffff",
)  # fmt: skip
"""The first, the last and one middle code point of each UTF-8 length, white space, and characters
that must be escaped."""
_SHORT_ESCAPES = dict(zip('"\\/\b\f\n\r\t', '"\\/bfnrt', strict=True))
_ENCODINGS = (
    b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xc2", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xed\xbf\xbf",
    b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff",
)  # fmt: skip
"""Byte sequences that resemble UTF-8 and are invalid."""
_SIGNS = tuple(bytes([sign]) for sign in b'{}[]":,\x0b\x0c\\/ \t\n\r\0u-+.019eEn')
_ESCAPES = (
    "\\", "\\x", "\\u", "\\u12", "\\u123g", "\\u+123", "\\ud800", "\\ud800x", "\\ud800\\n", "\\ud800\\u0041",
    "\\ud800\\ud800", "\\udc00", "\\udfff\\ud800", "\\U0041", "\\'", "\\0",
)  # fmt: skip
"""Invalid escapes."""
_SPACES = (" ", "  ", "\t", "\n", "\r\n", " \t\r\n ")
_NO_SPACES = ("\x0b", "\x0c", "\0", "\xa0", "\u2028", "\ufeff", "/**/")
"""White space of other grammars, not of JSON."""
_ODD = ('{"a":1}', "[1]", "true", '""', "{}", '{"a":' * 40 + "1" + "}" * 40)


def _number(draw: random.Random) -> str:
    """A number in one of the notations that programs write."""
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


def _spelled(draw: random.Random, text: str, escapes: float) -> str:
    """A JSON string of ``text``; each character is an escape with probability ``escapes``."""
    found = []
    for character in text:
        needed = character < " " or character in '"\\'
        if not needed and draw.random() >= escapes:
            found.append(character)
        elif character in _SHORT_ESCAPES and draw.random() < 0.5:
            found.append("\\" + _SHORT_ESCAPES[character])
        else:
            units = character.encode("utf-16-be").hex()
            units = units if draw.random() < 0.5 else units.upper()
            found += [f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)]
    return f'"{"".join(found)}"'


def _text(draw: random.Random) -> str:
    """A JSON string of arbitrary characters whose length is near a limit."""
    size = draw.choice((0, 1, 2, 4, 5, 6, 8, 9, 20, 127, 128, 129))
    text = "".join(draw.choices(_CHARACTERS if draw.random() < 0.5 else "aé日😀", k=size))
    found = _spelled(draw, text, draw.choice((0.0, 0.1, 1.0)))
    if draw.random() < 0.1:
        at = draw.randrange(1, len(found))
        found = found[:at] + draw.choice(_ESCAPES) + found[at:]
    return found


def _anything(draw: random.Random, depth: int = 0) -> str:
    """A JSON value, possibly nested, as an unknown field has; some are invalid."""
    kind = draw.randrange(8 if depth < 4 else 6)
    if kind == 0:
        return draw.choice(("true", "false", "null", "nul", "True", *_ODD, "[" * 30 + "]" * 30))
    if kind == 1:
        return draw.choice(
            ("[" * 40 + "]" * 40, "[1,]", "[,]", '{"a":1,}', '{"a"}', "{1:2}", "[}", "{]")
        )
    if kind <= 3:
        return draw.choice(_NUMBERS) if kind == 2 else _number(draw)
    if kind <= 5:
        return _text(draw)
    many = range(draw.randrange(4))
    if kind == 6:
        return (
            "["
            + _gap(draw)
            + ",".join(_spaced(draw, _anything(draw, depth + 1)) for _ in many)
            + "]"
        )
    pairs = [f"{_text(draw)}{_gap(draw)}:{_spaced(draw, _anything(draw, depth + 1))}" for _ in many]
    return "{" + _gap(draw) + ",".join(_spaced(draw, pair) for pair in pairs) + "}"


def _gap(draw: random.Random) -> str:
    """White space where JSON allows it; rarely another character."""
    if draw.random() < 0.8:
        return ""
    return draw.choice(_SPACES if draw.random() < 0.995 else _NO_SPACES)


def _spaced(draw: random.Random, text: str) -> str:
    return f"{_gap(draw)}{text}{_gap(draw)}"


def _value(draw: random.Random, name: str) -> str:
    if draw.random() < 0.02:
        return draw.choice((*_ODD, *_NUMBERS, "null"))
    if name in TIMES:
        if draw.random() < 0.9:
            return str(T_MS + draw.choice((0, 1, 2, 3, -1, 300_000, 300_001, -604_800_000)))
        return _number(draw)
    if name in NUMBERS:
        if name in ("level", "count") and draw.random() < 0.9:
            return str(draw.randrange(-4, 100))
        return _number(draw) if draw.random() < 0.98 else "null"
    if draw.random() < 0.8:
        return json.dumps(draw.choice(("t", "t-7", "m", "loss", "abcd", "abcde", "abcdef")))
    if draw.random() < 0.7:
        return _text(draw)
    return draw.choice((f'"{draw.choice(_TEXTS)}"', "null"))


def _name(draw: random.Random, name: str) -> str:
    return _spelled(draw, name, draw.choice((0.1, 1.0)) if draw.random() < 0.02 else 0.0)


def body(draw: random.Random, names: tuple[str, ...]) -> bytes:
    """One body; about half of the bodies are valid."""
    chosen = [name for name in names if draw.random() < 0.99]
    if draw.random() < 0.2:
        draw.shuffle(chosen)
    pairs = [(_name(draw, name), _value(draw, name)) for name in chosen]
    if draw.random() < 0.03:
        name = draw.choice((*names, "tsx", "t", ""))
        pairs.append((_name(draw, name), _value(draw, name)))
    if draw.random() < 0.2:
        extra = _text(draw), _anything(draw)
        pairs.insert(draw.randrange(len(pairs) + 1), extra)
    if draw.random() < 0.3:
        members = [f"{_spaced(draw, name)}:{_spaced(draw, value)}" for name, value in pairs]
        text = _spaced(draw, "{" + ",".join(members) + "}")
    elif draw.random() < 0.3:
        text = "{" + ", ".join(f"{name}: {value}" for name, value in pairs) + "}"
    else:
        text = "{" + ",".join(f"{name}:{value}" for name, value in pairs) + "}"
    raw = text.encode()
    return _mutated(draw, raw) if draw.random() < 0.15 else raw


def _mutated(draw: random.Random, raw: bytes) -> bytes:
    """The body truncated, or with one byte changed."""
    at, kind = draw.randrange(len(raw)), draw.randrange(8)
    if kind < 2:
        return raw[:at] if kind else raw[at:]
    if kind < 4:
        return raw[:at] + (draw.randbytes(1) if kind == 2 else b"") + raw[at + 1 :]
    if kind == 4:
        other = draw.randrange(len(raw))
        return raw[:at] + raw[other : other + draw.randrange(1, 40)] + raw[at:]
    if kind == 5:
        return raw[:at] + draw.choice(_ENCODINGS) + raw[at:]
    return raw[:at] + draw.choice(_SIGNS) + raw[at + kind - 6 :]


def batch_of(draw: random.Random, topic: Any, count: int) -> RecordBatch:
    """A batch of records with such bodies; most keys are right."""
    values = [body(draw, FIELDS[topic.name]) for _ in range(count)]
    keys: list[bytes | None] = []
    for raw in values:
        try:
            keys.append(str(json.loads(raw)[KEYS[topic.name]]).encode())
        except (ValueError, LookupError, TypeError, RecursionError):
            # The key that a kernel would find if it accepts the body.
            name = KEYS[topic.name].encode()
            found = re.search(b'"%s"\\s*:\\s*"([^"\\\\]*)"' % name, raw)
            keys.append(draw.choice((None, b"t", b"")) if found is None else found[1])
        if draw.random() < 0.01:
            keys[-1] = draw.choice((None, b"u", b"t-71"))
    return RecordBatch(
        TopicPartition(topic.name, 0), 0, count, [*range(count)], [T_MS] * count, keys,
        [None if draw.random() < 0.001 else raw for raw in values], [()] * count,
    )  # fmt: skip


def mutants(draw: random.Random, topic: Any, count: int) -> tuple[list[bytes], list[bytes]]:
    """Keys and values: many mutants of each of ``count`` records."""
    batch = batch_of(draw, topic, count)
    keys, values = [], []
    for key, value in zip(batch.keys, batch.values, strict=True):
        if key is not None and value:
            keys += [key] * _MUTANTS
            values += [_mutated(draw, value) for _ in range(_MUTANTS)]
    return keys, values


def differences(topic: Any, batch: RecordBatch) -> list[str]:
    """Differences between the scanner's answer and that of `decode`."""
    scanner = Scanner.of(topic)
    assert scanner is not None, "the topic has a scanner"
    # Columns must be right whatever share of the records is left to `decode`.
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
            # Compare bits: 0.0 is not -0.0.
            same = one == other and (
                not isinstance(one, float) or np.signbit(one) == np.signbit(other)
            )
            if not same:
                found.append(f"{name} of {batch.values[at]!r}: {one!r} instead of {other!r}")
    return found


def misread(topic: Any, keys: list[bytes], values: list[bytes]) -> list[str]:
    """Values that the kernels accept and msgspec refuses or reads differently. Cheaper than
    `differences`, because it checks no other values."""
    count = len(values)
    batch = RecordBatch(
        TopicPartition(topic.name, 0), 0, count, [*range(count)], [T_MS] * count, [*keys],
        [*values], [()] * count,
    )  # fmt: skip
    scanner = Scanner.of(topic)
    assert scanner is not None, "the topic has a scanner"
    slow = np.zeros(count, np.bool_)
    fields = scanner.scan(batch, slow)
    rows = np.flatnonzero(~slow)
    columns = fields.take(rows)
    read: list[list[Any]] = []
    for name, place in scanner.table.places.items():
        kind, column = scanner.table.shape[place, [0, 3]].tolist()
        if kind == 0:
            read.append(columns.texts(name).texts())
            continue
        source = fields.whole_values if kind == 1 else fields.number_values
        found, lacking = source[column, rows].tolist(), columns.lacking(name).tolist()
        read.append([None if lacks else one for one, lacks in zip(found, lacking, strict=True)])
    decoder, wrong = _DECODERS[topic.name], []
    for row, *mine in zip(rows.tolist(), *read, strict=True):
        try:
            values[row].decode()
            theirs: Any = msgspec.structs.astuple(decoder.decode(values[row]))
        except (ValueError, msgspec.MsgspecError) as error:
            theirs = error
        if repr(tuple(mine)) != repr(theirs):
            wrong.append(f"{values[row]!r}: {mine} instead of {theirs!r}")
    return wrong


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
    draw, began, tried = random.Random(asked.seed), time.monotonic(), 0
    while tried < asked.bodies:
        topic = TOPICS[draw.randrange(len(TOPICS))]
        batch = batch_of(draw, topic, 100)
        keys, values = mutants(draw, topic, 100)
        if found := differences(topic, batch) + misread(topic, keys, values):
            print(*found, sep="\n")
            return 1
        tried += len(batch) + len(values)
    print(f"{tried} bodies, none differs, {time.monotonic() - began:.0f} s")
    return 0


def left_to_decode(topic: Any, batch: RecordBatch) -> list[bool]:
    """Which records the kernels leave to `decode`."""
    scanner = Scanner.of(topic)
    assert scanner is not None, "the topic has a scanner"
    slow = np.zeros(len(batch), np.bool_)
    scanner.scan(batch, slow)
    return slow.tolist()


if __name__ == "__main__":
    sys.exit(main())
