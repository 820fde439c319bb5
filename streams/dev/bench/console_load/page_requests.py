"""The requests of each console page, and how often people open it. A test compares them with the
pages' modules."""

from __future__ import annotations

import random
from typing import Final, NamedTuple, TypeAlias

from streams.dev.workload.generator import metric_name, model_name

MODELS: Final = 5
METRICS: Final = 20
"""per tenant of the workload ``narrow``"""
OWN_SHARE: Final = 0.2
"""of requests for a person's own series instead of the team's"""

Call: TypeAlias = tuple[str, dict[str, str]]
"""path and query"""


class PageRequests(NamedTuple):
    """``weight`` is its relative frequency, ``paths`` its module's requests."""

    weight: int
    page: str
    paths: tuple[str, ...]
    everyone: bool = False
    """only for a token of every tenant"""


PAGE_REQUESTS: Final = (
    PageRequests(4, "/", ("/overview",)),
    PageRequests(5, "/explore", ("/api/windows", "/api/names", "/api/names", "/api/range")),
    PageRequests(1, "/dead-letters", ("/api/dlq/groups", "/api/dlq/letters", "/api/dlq/plans")),
    PageRequests(2, "/decisions", ("/api/simulations",)),
    PageRequests(1, "/training", ("/api/training",)),
    PageRequests(1, "/pipeline", ("/api/pipeline", "/api/history"), everyone=True),
)
_OF_A_TENANT: Final = (
    "/api/names",
    "/api/range",
    "/api/simulations",
    "/api/training",
)
_PICKED: Final = ("/explore", "/decisions", "/training")
"""A token of every tenant first lists the tenants there."""


class ConsoleUser(NamedTuple):
    """``tenant`` is the one shown; the token is ``bound`` to it, or valid for all."""

    tenant: str
    bound: bool

    def look(self, rng: random.Random) -> list[Call]:
        there = [page for page in PAGE_REQUESTS if not (page.everyone and self.bound)]
        [page] = rng.choices(there, [page.weight for page in there])
        picks = [] if self.bound or page.page not in _PICKED else ["/api/tenants"]
        return [(path, self._query(path, rng)) for path in (page.page, *picks, *page.paths)]

    def _query(self, path: str, rng: random.Random) -> dict[str, str]:
        asked = {"tenant": self.tenant} if path in _OF_A_TENANT else {}
        if path == "/api/names":
            asked["of"] = rng.choice(("model", "metric"))
        if path == "/api/range":
            # a team shares one link
            shared = random.Random(self.tenant)
            choice = rng if rng.random() < OWN_SHARE else shared
            asked |= {
                "model": model_name(choice.randrange(MODELS)),
                "metric": metric_name(choice.randrange(METRICS)),
                "from": "-1h",
                "to": "now",
                "buckets": "32",
            }
        return asked
