"""Generated requests to a listening edge: no 5xx, and no undescribed answer."""

from __future__ import annotations

import json

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from agents.app import app
from streams.http.edge import openapi
from streams.http.edge.validator import topics_taken
from tests.depth import cases

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
SCHEMA = schemathesis.openapi.from_dict(
    openapi.document(tuple(topics_taken(app.topology).values()), 1 << 21)
)
# The open paths take no input that could be invalid.
OPERATIONS = [found.ok() for found in SCHEMA.include(path_regex="^/v1/").get_all_operations()]
# The generators start slowly, so no deadline applies.
patient = settings(max_examples=cases(15), suppress_health_check=list(HealthCheck), deadline=None)


@pytest.fixture
def bearer(tokens) -> dict[str, str]:
    """A token with every permission, so that requests get past authentication."""
    return {"Authorization": f"Bearer {tokens['admin']}"}


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda found: found.label)
@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
def test_every_request_gets_an_answer_that_is_described(served, bearer, operation, mode):
    """Bodies and parameters generated from the description, valid and invalid."""

    @patient
    @given(operation.as_strategy(mode))
    def fuzz(case) -> None:
        response = case.call(base_url=served, headers=bearer)
        case.validate_response(response, checks=CHECKS)

    fuzz()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
fields = st.sampled_from(["tenant_id", "model_id", "metric", "ts", "value", "event_id", "x"])
documents = st.dictionaries(fields, values, max_size=7).map(json.dumps).map(str.encode)
bodies = st.one_of(
    st.binary(max_size=300),
    documents,
    st.lists(st.one_of(documents, st.binary(max_size=30)), max_size=6).map(b"\n".join),
    st.lists(documents, max_size=4).map(lambda found: b"[" + b",".join(found) + b"]"),
)
media = st.sampled_from(
    ["application/json", "application/x-ndjson", "APPLICATION/JSON; charset=x", "", "a/b", ";"]
)
topics = st.sampled_from(
    [*topics_taken(app.topology), "decision.simulation.result", "a%2Fb", "%00", "..", "é"]
)


def test_the_log_holds_exactly_the_accepted_events(served, bearer, log, line):
    """Random bytes, JSON of the wrong shape, cut arrays, unusual headers. The log holds exactly the
    accepted events.
    """
    accepted = 0

    @settings(patient, max_examples=cases(200))
    @given(topics, bodies | st.builds(line), media)
    def fuzz(topic, body, content_type) -> None:
        nonlocal accepted
        headers = {**bearer, "Content-Type": content_type}
        answer = client.post(f"/v1/events/{topic}", content=body, headers=headers)
        assert answer.status_code in {202, 207, 400, 403, 404, 415, 422}, answer.text
        if answer.status_code < 300:
            accepted += answer.json()["accepted"]
            assert answer.json()["stored"] in {"log", "spool"}
        else:
            assert answer.json()["status"] == answer.status_code

    with httpx.Client(base_url=served) as client:
        fuzz()
    assert sum(len(log(topic)) for topic in topics_taken(app.topology)) == accepted
