"""What a person looks at in the console: the requests that each page makes, and how often.

The same requests as the pages' modules make (streams/http/console/pages/static/pages); a test compares.
"""

from __future__ import annotations

import random
from typing import Final, NamedTuple, TypeAlias

from streams.dev.workload.generator import metric_name, model_name

MODELS: Final = 5
METRICS: Final = 20
"""Of each tenant of the workload ``narrow``."""
OWN_SHARE: Final = 0.2
"""How often a person looks at a series of its own choice, and not at the one its team shares."""

Call: TypeAlias = tuple[str, dict[str, str]]
"""Path and query."""


class Look(NamedTuple):
    """One page: ``weight`` says how often it is opened, ``paths`` what its module then asks."""

    weight: int
    page: str
    paths: tuple[str, ...]
    everyone: bool = False
    """only for a token of every tenant"""


LOOKS: Final = (
    Look(4, "/", ("/overview",)),
    Look(5, "/explore", ("/api/models", "/api/metrics", "/api/range")),
    Look(1, "/dead-letters", ("/api/dlq/groups", "/api/dlq/letters", "/api/dlq/plans")),
    Look(2, "/decisions", ("/api/simulations",)),
    Look(1, "/training", ("/api/training",)),
    Look(1, "/pipeline", ("/api/pipeline",), everyone=True),
)
_OF_A_TENANT: Final = (
    "/api/models",
    "/api/metrics",
    "/api/range",
    "/api/simulations",
    "/api/training",
)
_PICKED: Final = ("/explore", "/decisions", "/training")
"""Pages on which a token of every tenant first asks which ones there are."""


class Person(NamedTuple):
    """``tenant`` is what it looks at; its token is ``bound`` to it, or speaks for every one."""

    tenant: str
    bound: bool

    def look(self, rng: random.Random) -> list[Call]:
        """The requests of one page, in the order a browser makes them."""
        there = [look for look in LOOKS if not (look.everyone and self.bound)]
        [look] = rng.choices(there, [look.weight for look in there])
        picks = [] if self.bound or look.page not in _PICKED else ["/api/tenants"]
        return [(path, self._query(path, rng)) for path in (look.page, *picks, *look.paths)]

    def _query(self, path: str, rng: random.Random) -> dict[str, str]:
        asked = {"tenant": self.tenant} if path in _OF_A_TENANT else {}
        if path == "/api/range":
            # Seeded with the name: all people of a team follow the same link.
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
