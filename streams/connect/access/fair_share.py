"""A bounded amount that owners share fairly.

An owner may hold at most the amount that stays free (dynamic thresholds, Choudhury and Hahne,
1998). One owner alone gets half; beside k owners at their bound 1/2^k is free, and a new owner gets
half of that."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

Owner = TypeVar("Owner", bound=Hashable)


class FairShare(Generic[Owner]):
    """``size`` in any unit."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: dict[Owner, int] = {}
        self.taken = 0

    def held(self, owner: Owner) -> int:
        return self._held.get(owner, 0)

    def holders(self) -> Mapping[Owner, int]:
        return self._held

    def fits(self, amounts: Mapping[Owner, int]) -> bool:
        """Whether each owner may take its part, all of them together."""
        left = self._size - self.taken - sum(amounts.values())
        return all(
            within_share(self.held(owner) + amount, left) for owner, amount in amounts.items()
        )

    def take(self, amounts: Mapping[Owner, int]) -> bool:
        """All parts, or none (False)."""
        if not self.fits(amounts):
            return False
        for owner, amount in amounts.items():
            if amount:
                self._held[owner] = self.held(owner) + amount
                self.taken += amount
        return True

    def give(self, amounts: Mapping[Owner, int]) -> None:
        for owner, amount in amounts.items():
            self.taken -= amount
            held = self.held(owner) - amount
            if held:
                self._held[owner] = held
            else:
                self._held.pop(owner, None)


def within_share(held: int, left: int) -> bool:
    """Whether an owner may hold ``held`` while ``left`` stays free."""
    return held <= left
