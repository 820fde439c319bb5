"""Replays over HTTP: make a plan, submit it to the replay agent, follow its progress.

An unsubmitted plan stays in this process for an hour; a submitted one is in the journals."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from streams.connect.access.refusals import Forbidden, UnknownResource
from streams.connect.access.tokens import Role
from streams.core.clock import Clock
from streams.core.command_errors import AnotherPlan
from streams.core.errors import RefusedBySafety
from streams.core.settings import Settings
from streams.core.topics.topic import Topic
from streams.core.topics.topology import Topology
from streams.core.types import Broker
from streams.http.console import parameters, reply
from streams.http.console.access.authorizer import Authorizer, Principal
from streams.http.console.access.operations import Operations
from streams.http.console.access.owned_entries import OwnedEntries
from streams.http.console.dead_letters.chosen import Chosen, filters_of
from streams.http.console.dead_letters.journals import LISTED_FRESH_S, Journals
from streams.http.console.dead_letters.letters import DeadLetterHandler, source_named
from streams.http.console.reply import Endpoint
from streams.operate.replay.journal.control import Word, tell
from streams.operate.replay.journal.status import PlanStatus, state_of
from streams.operate.replay.plan.plan import HOPS_MAX, OnFailure, ReplayPlan, Terms
from streams.operate.replay.plan.planner import Draft, PlanLine, PlanRequest, make_plan
from streams.operate.replay.run.partition_run import RunContext
from streams.operate.replay.run.run import submit

KEPT_S: Final = 3_600.0
DRAFTS_MAX: Final = 200
OWNER_DRAFTS_MAX: Final = 20
PLANNED_AT_ONCE: Final = 500
"""between two turns of the event loop"""
ENTERED_WAIT_S: Final = 5.0
ENTERED_POLL_S: Final = 0.05
_COUNTS: Final = ("letters", "replayed", "parked", "left")

_Found = Mapping[int, PlanStatus]


class _Asked(Chosen, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/dlq/plans. A transform would be code from a client."""

    limit: int | None = None
    on_failure: OnFailure = "skip"
    max_hops: int = HOPS_MAX
    patch: list[dict[str, Any]] = msgspec.field(default_factory=list)
    target: str | None = None


class _Why(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    reason: str = ""


class _Kept(NamedTuple):
    plan: ReplayPlan
    until_s: float
    """monotonic"""


@dataclass(eq=False)
class PlanHandler:
    """/api/dlq/plans."""

    _gate: Authorizer
    _topology: Topology
    _letters: DeadLetterHandler
    _broker: Broker
    _journals: Journals
    _operations: Operations
    _settings: Settings
    _clock: Clock
    _drafts: OwnedEntries[_Kept] = field(
        default_factory=lambda: OwnedEntries(total_max=DRAFTS_MAX, owner_max=OWNER_DRAFTS_MAX),
        init=False,
    )

    async def make(self, request: Request) -> Response:
        """POST: what a replay would do. Changes nothing."""
        holder = self._gate.holder(request, Role.OPERATE)
        asked = await parameters.body(request, _Asked)
        plan_request = self._request(holder, asked)
        async with self._letters.bounded(holder):
            draft = await make_plan(
                *(self._broker, self._clock, self._settings, self._topology, plan_request),
                progress=lambda at, end: None,
                page_records=PLANNED_AT_ONCE,
                aside=True,
            )
        if draft.plan.selections:
            self._keep(holder, draft.plan)
        until_ms = self._clock.now_ms() + round(KEPT_S * 1000)
        return reply.json(request, _told(draft, until_ms), 201)

    async def submit(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.OPERATE)
        plan = self._draft(holder, request.path_params["plan"])
        subject = {"plan": plan.id, "topic": plan.source, "letters": plan.letters}
        async with self._operations.noted(holder, "replay_submit", subject):
            await self._submit(holder, plan)
        self._drafts.pop(plan.id)
        return reply.json(request, await self._entered(holder, plan.id), 202)

    async def _submit(self, holder: Principal, plan: ReplayPlan) -> None:
        """Raises `RefusedBySafety` while another plan holds the topic; names that plan only to
        callers with access to it."""
        try:
            await submit(self._means(holder), plan)
        except AnotherPlan as error:
            if error.plan in await self._known(holder):
                raise
            raise RefusedBySafety(
                f"another replay of {plan.source} is in progress, and only one may run at a time. This plan "
                f"is kept here for an hour: submit it again later."
            ) from None

    async def _entered(self, holder: Principal, plan: str) -> dict[str, Any]:
        """The broker acknowledges a commit before readers see it, so this reads the journals until
        they contain the plan."""
        ends_s = self._clock.monotonic() + ENTERED_WAIT_S
        while True:
            self._journals.forget()
            if plan in await self._known(holder) or self._clock.monotonic() >= ends_s:
                return await self.progress(holder, plan)
            await self._clock.sleep(ENTERED_POLL_S)

    async def listed(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        known = await self._known(holder, LISTED_FRESH_S)
        found = [_progress(source, plan) for source, plan in known.values()]
        return reply.json(
            request, {"plans": sorted(found, key=lambda one: (-one["began_ms"], one["plan"]))}
        )

    async def show(self, request: Request) -> Response:
        holder = self._gate.holder(request, Role.READ)
        return reply.json(request, await self.progress(holder, request.path_params["plan"]))

    async def progress(self, holder: Principal, plan: str) -> dict[str, Any]:
        """Raises `UnknownResource`."""
        return _progress(*await self._standing(holder, plan))

    def teller(self, word: Word) -> Endpoint:
        """POST pause, resume, cancel."""

        async def told(request: Request) -> Response:
            return await self._tell(request, word)

        return told

    async def _tell(self, request: Request, word: Word) -> Response:
        holder = self._gate.holder(request, Role.OPERATE)
        asked = await parameters.body(request, _Why)
        plan = request.path_params["plan"]
        source, found = await self._standing(holder, plan)
        subject = {"plan": plan, "topic": source.name, "reason": asked.reason[:500]}
        async with self._operations.noted(
            holder, f"replay_{word}", subject, begins=word == "resume"
        ):
            now = await tell(
                *(self._broker, self._clock, self._topology, source, dict(found)),
                *(word, holder.actor, asked.reason[:500]),
            )
        self._journals.forget()
        return reply.json(request, _progress(source, now))

    def _request(self, holder: Principal, asked: _Asked) -> PlanRequest:
        if (asked.patch or asked.target is not None) and holder.token.tenant is not None:
            # A repaired record may name any tenant.
            raise Forbidden("patch and target need an admin token that is bound to no tenant")
        filters = filters_of(holder, asked, self._clock.now_ms() / 1000)
        tenants = filters.tenants
        limit = None if asked.limit is None else max(1, asked.limit)
        if asked.target is not None:
            source_named(self._topology, asked.target)
        return PlanRequest(
            source=source_named(self._topology, asked.topic),
            filters=replace(filters, limit=limit),
            terms=Terms(
                target=asked.target,
                patch=tuple(asked.patch),
                on_failure=asked.on_failure,
                hops_max=min(100, max(1, asked.max_hops)),
            ),
            id=f"{self._clock.now_ms():x}-{secrets.token_hex(2)}",
            actor=holder.actor,
            asked={**_given(asked), **({"tenant": [*tenants]} if tenants else {})},
        )

    def _means(self, holder: Principal) -> RunContext:
        return RunContext(
            broker=self._broker,
            shards=None,
            clock=self._clock,
            settings=self._settings,
            topology=self._topology,
            actor=holder.actor,
            run=secrets.token_hex(8),
            rate=None,
        )

    def _keep(self, holder: Principal, plan: ReplayPlan) -> None:
        now_s = self._clock.monotonic()
        self._drafts.keep(lambda kept: kept.until_s > now_s)
        self._drafts.put(holder.owner, plan.id, _Kept(plan, now_s + KEPT_S))

    def _draft(self, holder: Principal, plan: str) -> ReplayPlan:
        kept = self._drafts.get(plan)
        if kept is None or kept.until_s <= self._clock.monotonic() or not _may(holder, kept.plan):
            raise UnknownResource("no unsubmitted plan of that name is here; make it again")
        return kept.plan

    async def _standing(self, holder: Principal, plan: str) -> tuple[Topic, _Found]:
        known = await self._known(holder)
        if plan not in known:
            raise UnknownResource("there is no plan of that name")
        return known[plan]

    async def _known(
        self, holder: Principal, at_most_s: float | None = None
    ) -> dict[str, tuple[Topic, _Found]]:
        """The plans that the caller may see, at most ``at_most_s`` old."""
        found: dict[str, tuple[Topic, dict[int, PlanStatus]]] = {}
        for source, partitions in (await self._journals.get(at_most_s)).items():
            for number, journal in enumerate(partitions):
                for name, standing in journal.plans.items():
                    if standing.head is not None and _may(holder, standing.head):
                        found.setdefault(name, (source, {}))[1][number] = standing
        return dict(found)


def _may(holder: Principal, plan: ReplayPlan) -> bool:
    """A bound token sees plans for its tenant only."""
    return holder.token.tenant is None or plan.asked.get("tenant") == [holder.token.tenant]


def _given(asked: _Asked) -> dict[str, Any]:
    said: dict[str, Any] = msgspec.to_builtins(asked)
    return {name: value for name, value in said.items() if value not in (None, [])}


def _told(draft: Draft, until_ms: int) -> dict[str, Any]:
    plan = draft.plan
    return {
        "plan": plan.id if plan.selections else None,
        "topic": plan.source,
        "scanned": draft.scanned,
        "letters": plan.letters,
        "behind": plan.behind,
        "kept_until_ms": until_ms,
        "errors": [_line(line) for line in draft.lines],
        "reasons": [reason for line in draft.lines for reason in line.reasons],
        "differences": [text for line in draft.lines for text in line.differences],
    }


def _line(line: PlanLine) -> dict[str, Any]:
    numbers = ("error", "letters", "oldest_ms", "newest_ms", "passes", "replay", "park")
    return {**{name: getattr(line, name) for name in numbers}, "excluded": dict(line.excluded)}


def _progress(source: Topic, found: _Found) -> dict[str, Any]:
    standings = [*found.values()]
    first = standings[0]
    return {
        "plan": first.plan,
        "topic": source.name,
        "state": state_of({standing.state for standing in standings}),
        **{name: sum(getattr(one, name) for one in standings) for name in _COUNTS},
        "to_go": sum(map(_to_go, standings)),
        "by": first.actor,
        "by_agent": first.by_agent,
        "began_ms": min(one.began_ms for one in standings),
        "last_ms": max(one.last_ms for one in standings),
        "reasons": sorted({one.reason for one in standings if one.reason}),
        "partitions": [
            {
                "partition": number,
                "state": one.state,
                **{name: getattr(one, name) for name in _COUNTS},
                "to_go": _to_go(one),
            }
            for number, one in sorted(found.items())
        ],
    }


def _to_go(plan: PlanStatus) -> int:
    return 0 if plan.over else plan.letters - plan.replayed - plan.parked - plan.left
