"""The decoder accepts every document that the published JSON Schema accepts."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.app import MODEL_METRICS, SIMULATION_REQUEST, app
from streams.connect.schema_registry.documents import document
from streams.core.formats.whole_numbers import decode_whole
from streams.core.records.bad_records import TimestampInFuture, TimestampTooOld
from streams.core.topics.topic import Topic
from streams.engine.decode.codecs import Limits, check
from tests.properties.test_codec_laws import NAMES, WELL, T, scalars

LIMITS = Limits(future_max_s=300, late_max_s=604_800)
BY_TIME = {TimestampInFuture.code, TimestampTooOld.code}
"""Rules that depend on the append time, which no schema can express."""
VALIDATORS = {
    topic.name: jsonschema.Draft202012Validator(document(topic, topic.latest))
    for topic in app.topology.topics
}


def _forms(number: int) -> st.SearchStrategy[str]:
    """Notations of one integer, all with exactly the same value."""
    return st.sampled_from([f"{number}", f"{number}.0", f"{number}e0", f"{Decimal(number):E}"])


@st.composite
def documents(draw: Any) -> bytes:
    """Documents of all families, with integers in several notations."""
    event: dict[str, Any] = dict(WELL)
    changed = st.one_of(scalars, st.integers(0, 9), st.just({"code": "c", "message": "m"}))
    event.update(draw(st.dictionaries(st.sampled_from(NAMES), changed, max_size=2)))
    texts = {}
    for name, value in event.items():
        if type(value) is int and abs(value) < 2**53:
            texts[f'"@{name}@"'] = draw(_forms(value))
            event[name] = f"@{name}@"
    text = json.dumps(event)
    for token, written in texts.items():
        text = text.replace(token, written)
    return text.encode(errors="surrogatepass")


def _accepted(topic: Topic, value: bytes) -> bool:
    """Python's reader takes NaN and Infinity, which no JSON has, and so no schema accepts."""
    try:
        found = json.loads(value, parse_constant=_refused)
    except ValueError:
        return False
    return VALIDATORS[topic.name].is_valid(found)


def _refused(constant: str) -> None:
    raise ValueError(constant)


@given(st.sampled_from(app.topology.topics), documents())
def test_the_decoder_accepts_what_the_schema_accepts(topic, value):
    """A producer that validates against the published schema must get no dead letter."""
    if not _accepted(topic, value):
        return
    decoded, _ = check(topic, [value], T, LIMITS)
    assert {bad.code for bad in decoded.bad} <= BY_TIME, decoded.bad


@pytest.mark.parametrize("topic", app.topology.topics, ids=lambda topic: topic.name)
def test_the_generator_makes_valid_documents(topic):
    """The law above would hold vacuously for documents that no schema accepts."""
    value = json.dumps(WELL).replace(str(T), f"{T}.0").encode()
    assert VALIDATORS[topic.name].is_valid(json.loads(value))
    decoded, keys = check(topic, [value], T, LIMITS)
    assert decoded.bad == []
    assert keys == [b"t"]


@given(st.integers(-(2**63), 2**63 - 1).flatmap(lambda n: st.tuples(st.just(n), _forms(n))))
def test_integers_are_exact(written):
    """A seed above 2**53 that is converted to a float becomes another seed."""
    number, text = written
    event = {**WELL, "seed": 0}
    value = json.dumps(event).replace('"seed": 0', f'"seed": {text}').encode()
    decoded, _ = check(SIMULATION_REQUEST, [value], T, LIMITS)
    assert decoded.events[0].seed == number


@pytest.mark.parametrize("text", ["1.5", "1e999999999", "1.00000000000000000001", "-0.1"])
def test_numbers_with_a_fraction_are_refused(text):
    """Rounding would invent a time; a huge exponent would fill the memory."""
    value = json.dumps(WELL).replace(f'"ts": {T}', f'"ts": {text}').encode()
    decoded, _ = check(MODEL_METRICS, [value], T, LIMITS)
    assert len(decoded.bad) == 1


def test_other_defects_are_still_reported():
    """The second decoding must not hide the first defect behind the one that it repairs."""
    value = json.dumps({**WELL, "value": "x"}).replace(f'"ts": {T}', f'"ts": {T}.0').encode()
    decoded, _ = check(MODEL_METRICS, [value], T, LIMITS)
    assert decoded.bad[0].path == "$.value"
    with pytest.raises(ValueError, match="another"):
        decode_whole(b"{}", MODEL_METRICS.type, ValueError("another"))
