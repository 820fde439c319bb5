"""Why a sign-in at a provider was refused: a stable word each."""

from __future__ import annotations

from enum import StrEnum

from streams.core.errors import RequestRefused


class Refused(StrEnum):
    STATE = "wrong_state"
    """The answer belongs to no sign-in that this browser began, or came too late."""
    PROVIDER = "provider_refused"
    """The provider answered with an error instead of a code."""
    CODE = "code_refused"
    """The provider gave no ID token for the code: it is used, expired, or of another sign-in."""
    ISSUER = "wrong_issuer"
    ALGORITHM = "algorithm_refused"
    KEY = "unknown_key"
    SIGNATURE = "bad_signature"
    UNREADABLE = "unreadable_token"
    AUDIENCE = "wrong_audience"
    NONCE = "wrong_nonce"
    EXPIRED = "expired"
    ISSUED_AT = "issued_at"
    """The ID token was issued in the future, or before this sign-in could have begun."""
    NO_GRANT = "no_grant"
    """The person is known, and no grant of `DIA_OIDC_FILE` fits the claims."""


AWAY = "provider_away"
"""The sign-in was not refused: the provider does not answer."""


class SignInRefused(RequestRefused):
    """A sign-in at an OpenID provider proved nothing, or a person without a grant."""

    code = "sign_in_refused"
    status = 403

    def __init__(self, why: Refused) -> None:
        super().__init__(f"the sign-in was refused: {why}")
        self.why = why
