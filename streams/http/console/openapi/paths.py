"""The OpenAPI paths, by response."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streams.http.console.openapi.dead_letters import letters
from streams.http.console.openapi.history import history
from streams.http.console.openapi.series import series
from streams.http.console.openapi.shedding import shedding
from streams.http.console.openapi.topics import topics_and_messages
from streams.http.console.openapi.views import views
from streams.http.console.simulations import PRIORITY_MAX, TRIALS_MAX
from streams.http.openapi import (
    COUNT,
    FLAG,
    FORM,
    NAME,
    NUMBER,
    TENANT,
    TEXT,
    array,
    get,
    maybe,
    obj,
    post,
    query,
    read,
)

ANYTHING: dict[str, Any] = {"type": "object"}


def paths(topics: Sequence[str]) -> dict[str, Any]:
    return {
        **_sessions(),
        "/overview": {"get": _overview()},
        **_catalog(),
        **series(),
        **_simulations(),
        "/api/training": {"get": _training()},
        **letters(topics),
        "/api/pipeline": {"get": _pipeline()},
        "/api/data": {"get": _data()},
        "/api/capacity": {"get": _capacity()},
        "/api/capacity/forecast": {"get": _forecast()},
        **history(),
        **topics_and_messages(),
        **shedding(),
        **views(),
        "/admin/cache/invalidate": {"post": _invalidate()},
        "/admin/policy/changed": {"post": _policy_changed()},
        **_open(),
    }


VERDICT: dict[str, Any] = {"enum": ["healthy", "warning", "unknown", "red"]}


def _overview() -> dict[str, Any]:
    known = obj({"level": maybe(COUNT), "name": TEXT, "reasons": array(TEXT)})
    finding = obj(dict.fromkeys(("code", "severity", "subject", "detail", "next"), TEXT))
    minutes = obj({"t": array(COUNT), "events": array(COUNT)})
    seen = ("newest_window_age_s", "p50_s", "p95_s", "p99_s", "window_s", "covered_s")
    answer = read(
        {
            "level": known,
            "health": obj({"verdict": VERDICT, "at_ms": COUNT, "findings": array(finding)}),
            "throughput": maybe(obj({"events_per_s": NUMBER, "minutes": minutes})),
            "freshness": obj(
                {**dict.fromkeys(seen, NUMBER), "p95_trend_s": array(maybe(NUMBER)), "beyond": FLAG}
            ),
            "error_budget": maybe(
                obj(
                    {
                        **dict.fromkeys(("objective", "within_s", "window_s", "left"), NUMBER),
                        **dict.fromkeys(("good", "total"), COUNT),
                    }
                )
            ),
            "lag": maybe(obj({"records": maybe(COUNT), "partitions": array(ANYTHING)})),
            "dead_letters": obj({"last_hour": maybe(COUNT), "course": maybe(array(COUNT))}),
            "breakers": maybe(array(obj(dict.fromkeys(("worker", "dependency", "state"), TEXT)))),
            "services": array(obj({"name": TEXT, "ok": FLAG, "detail": TEXT})),
            "workers": maybe(array(ANYTHING)),
        }
    )
    what = (
        "The state of the service; figures from ClickHouse are kept for 30 s. A token of one tenant gets "
        "null for lag, workers, breakers and error_budget, and no reasons and findings: they concern "
        "every tenant."
    )
    return get("overview", what, answer)


def _catalog() -> dict[str, Any]:
    def names(what: str, *parameters: dict[str, Any]) -> dict[str, Any]:
        answer = read({what: array(TEXT)})
        return {"get": get(what, f"The {what} there are.", answer, parameters)}

    return {
        "/api/tenants": names("tenants"),
        "/api/models": names("models", TENANT),
        "/api/metrics": names("metrics", TENANT, query("model", array(NAME))),
    }


def _simulations() -> dict[str, Any]:
    one = obj(
        {
            **dict.fromkeys(
                ("idempotency_key", "request_id", "model", "policy", "scenario", "status"), TEXT
            ),
            **dict.fromkeys(
                ("priority", "trials", "requested_ms", "started_ms", "finished_ms"), COUNT
            ),
            "repeated": FLAG,
            "summary": ANYTHING,
            "error": maybe(obj({"code": TEXT, "message": TEXT})),
        }
    )
    lanes = obj(dict.fromkeys(("high", "normal", "running"), COUNT))
    status = {"enum": ["completed", "rejected", "failed", "cancelled"]}
    given = (
        TENANT,
        query("status", status),
        query("scenario", NAME),
        query("key", NAME),
        query("before_ms", COUNT),
        query("limit", {"type": "integer", "minimum": 1, "maximum": 500}),
    )
    names = ("idempotency_key", "request_id", "model", "scenario")
    numbers = ("priority", "trials", "accepted_ms")
    whole = {"type": "integer"}
    request = obj({**dict.fromkeys(names, TEXT), **dict.fromkeys(numbers, whole)})
    waiting = obj({"requests": array(request), "complete": FLAG})
    answer = read({"simulations": array(one), "queue": maybe(lanes), "waiting": maybe(waiting)})
    told = {"request_id": TEXT, "idempotency_key": TEXT}
    asked = obj({"idempotency_key": NAME, "model_id": NAME}, tenant=NAME)
    trials = {"type": "integer", "minimum": 1, "maximum": TRIALS_MAX}
    work = obj(
        {"model_id": NAME, "scenario": NAME, "parameters": ANYTHING, "trials": trials},
        priority={"type": "integer", "minimum": 0, "maximum": PRIORITY_MAX},
        **dict.fromkeys(("policy_id", "idempotency_key", "tenant"), NAME),
    )
    ask = "Ask for a simulation; without an idempotency key it gets a new one. Its result says whether the scenario takes it."
    summary = "Results, newest first; and what was accepted and has none yet, oldest first."
    cancel = "Ask for the end of a request: in order, like any other."
    return {
        "/api/simulations": {
            "get": get("simulations", summary, answer, given),
            "post": post("simulate", ask, {"202": obj(told)}, work),
        },
        "/api/simulations/cancel": {"post": post("cancel", cancel, {"202": obj(told)}, asked)},
    }


def _training() -> dict[str, Any]:
    answer = read({"models": array(ANYTHING), "events": array(ANYTHING)})
    given = (TENANT, query("model", NAME))
    return get(
        "training", "Models: versions, aliases, stages, and their last events.", answer, given
    )


def _pipeline() -> dict[str, Any]:
    lists = ("agents", "workers", "partitions")
    judged = {"verdict": VERDICT, "lag_records": maybe(COUNT)}
    judged |= dict.fromkeys(("settled", "ledger_known"), FLAG)
    answer = read({**judged, **dict.fromkeys(lists, array(ANYTHING))})
    return get("pipeline", "Agents and partitions; for tokens of every tenant.", answer)


def _data() -> dict[str, Any]:
    shard = obj({"shard": COUNT, "addresses": array(TEXT), "takes_windows": FLAG})
    places = {"map": COUNT, "days": TEXT, "shards": COUNT, "placement": TEXT}
    day = obj({"map": COUNT, "day": TEXT, "state": TEXT, "unfinished": FLAG})
    backup = dict.fromkeys(("name", "state", "base", "why"), TEXT)
    drill = {
        "name": TEXT,
        "backup": TEXT,
        **dict.fromkeys(("began_ms", "rows", "lost_rows"), COUNT),
    }
    region = {
        **dict.fromkeys(("region", "active"), TEXT),
        "here": FLAG,
        "epoch": COUNT,
        **dict.fromkeys(("read_s", "missing_s"), maybe(NUMBER)),
        "missing_records": maybe(COUNT),
    }
    answer = read(
        {
            **dict.fromkeys(("maps_unknown", "backups_unknown"), TEXT),
            "shards": array(shard),
            "maps": array(obj({**places, "in_force": FLAG, "moves": FLAG})),
            "days": array(day),
            "backups": array(obj({**backup, "begun_ms": COUNT, "bytes": maybe(COUNT)})),
            "backups_left_out": COUNT,
            "drills": array(obj({**drill, "rto_s": NUMBER, "rpo_s": NUMBER})),
            "regions": array(obj(region)),
        }
    )
    words = (
        "Shards, their maps, moved days, backups, last good drills and regions; for tokens of every "
        "tenant."
    )
    return get("stored_data", words, answer)


def _capacity() -> dict[str, Any]:
    process = {"process": TEXT, "cpu": NUMBER, "memory_bytes": COUNT, "at_ms": COUNT}
    needs = {"resource": TEXT} | dict.fromkeys(("now", "needed", "have", "days_left"), NUMBER)
    texts = ("growth", "plan_unknown", "last_test_unknown")
    bounds = dict.fromkeys(("processes", "least", "most"), COUNT)
    pool = {"slot": TEXT, "processes": COUNT, "waiting": COUNT}
    change = dict.fromkeys(("at_ms", "before", "after"), COUNT) | {"why": TEXT}
    answer = read(
        {
            **dict.fromkeys(texts, TEXT),
            **dict.fromkeys(("horizon_days", "busy"), NUMBER),
            "load": maybe(obj({"t": array(COUNT), "events_per_s": array(NUMBER)})),
            "processes": maybe(array(obj({**process, "behind_s": NUMBER, "fill": NUMBER}))),
            "pools": array(obj({**pool, "changes": array(obj(change))})),
            "scaling": maybe(obj({**bounds, "changes": array(obj(change))})),
            "all_hosts": maybe(obj({"processes": COUNT, "changes": array(obj(change))})),
            "needs": maybe(array(obj(needs))),
            "advice": maybe(array(obj({"tone": TEXT, "text": TEXT}))),
            "last_test": maybe(ANYTHING),
        }
    )
    words = "Utilisation, needs by a growth, and the last load test; for tokens of every tenant."
    growth = {**query("growth", NAME), "description": "10x at once, or 10% a month (default)."}
    return get("capacity", words, answer, (growth,))


def _forecast() -> dict[str, Any]:
    hour = {"hour": TEXT, **dict.fromkeys(("events_per_s", "low", "high"), NUMBER)}
    answer = obj({"unknown": TEXT, "hours": array(obj(hour)), "made_ms": maybe(COUNT)})
    words = "The forecast of the next hours, at most an hour old; for tokens of every tenant."
    return get("capacity_forecast", words, answer)


def _policy_changed() -> dict[str, Any]:
    asked = {"tenant_id": NAME, "policy_id": NAME}
    answer = obj({**asked, "event": TEXT})
    words = "A policy changed: every worker asks for it again."
    return post("policyChanged", words, {"200": answer}, obj(asked))


def _invalidate() -> dict[str, Any]:
    asked = {"cache": TEXT, "pattern": NAME}
    answer = obj({**asked, "names": COUNT})
    return post("invalidate", "Forget what caches keep.", {"200": answer}, obj(asked))


def _sessions() -> dict[str, Any]:
    begin = post(
        "begin_session",
        "Sign in: the answer sets the session's cookie. A form is answered by a redirection.",
        {"204": None, "303": None},
        obj({"token": TEXT}),
        problems=("400", "401", "403", "413", "415", "503"),
    )
    begin["requestBody"]["content"][FORM] = {"schema": obj({"token": TEXT}, next=TEXT)}
    shown = obj(
        {"token_id": TEXT, "role": {"enum": ["read", "operate", "admin"]}, "tenant": maybe(TEXT)},
        csrf=TEXT,
        ends_ms=COUNT,
    )
    end = post("end_session", "Sign out.", {"303": None}, problems=("400", "403", "413"))
    return {
        "/session": {
            "get": get("session", "Who is signed in.", shown),
            "post": {**begin, "security": []},
        },
        "/session/end": {"post": {**end, "security": []}},
    }


def _open() -> dict[str, Any]:
    found = {
        "/healthz": {"get": get("health", "Whether requests are answered.", ANYTHING, (), ())},
        "/health/region": {
            "get": get("region", "Whether this region is active: 200 or 503.", ANYTHING, (), ())
        },
        "/openapi.json": {"get": get("description", "This document.", ANYTHING, (), ())},
    }
    for path in found.values():
        path["get"]["security"] = []
    return found
