"""What the sign-in page says after a refusal, by its stable word. Other words of an address are never
shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streams.connect.oidc.refused import AWAY, Refused

WRONG_ENTRY: Final = "That token is not valid: it is unknown, expired or revoked."
_PROOF: Final = "The answer of your organisation's sign-in proved nothing"
_OPERATOR: Final = "Ask an operator: the console's log has the details."

REFUSALS: Final[Mapping[str, str]] = {
    Refused.STATE: "This sign-in took too long, or was begun in another window. Sign in again.",
    Refused.PROVIDER: "Your organisation's sign-in refused you.",
    Refused.CODE: "This sign-in was already used or took too long. Sign in again.",
    Refused.NO_GRANT: "You are known, but have no access here. Ask an operator for a grant.",
    Refused.EXPIRED: f"{_PROOF}: it is expired. {_OPERATOR}",
    Refused.ISSUED_AT: f"{_PROOF}: its time is not that of this sign-in. {_OPERATOR}",
    AWAY: "Your organisation's sign-in does not answer now. Try again, or use a token.",
    **{
        word: f"{_PROOF} ({word}). {_OPERATOR}"
        for word in (
            *(Refused.ISSUER, Refused.ALGORITHM, Refused.KEY, Refused.SIGNATURE),
            *(Refused.UNREADABLE, Refused.AUDIENCE, Refused.NONCE),
        )
    },
}
