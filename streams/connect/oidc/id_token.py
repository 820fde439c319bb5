"""Checks of an ID token (OpenID Connect Core 1.0, 3.1.3.7; RFC 7515, RFC 8725).

PyJWT checks the signature; times are checked here, by the clock that is given."""

from __future__ import annotations

import hmac
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import jwt
from jwt import PyJWK

from streams.connect.oidc.refused import Refused, SignInRefused

if TYPE_CHECKING:
    from jwt.types import Options

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Signatures by a private key of the provider; with HS256 each client could sign."""
SKEW_S: Final = 60
"""between the clocks of provider and console"""
AGE_MAX_S: Final = 600
"""A token is made for this sign-in, which lasts no longer."""
TOKEN_CHARS_MAX: Final = 64 << 10
SUBJECT_CHARS_MAX: Final = 255
RSA_BITS_MIN: Final = 2048
_NOT_HERE: Final[Options] = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}

Claims = Mapping[str, Any]


def key_id(text: str) -> str | None:
    """``kid`` of the header, which is not yet proved. Raises `SignInRefused`."""
    header = _header(text)
    if header.get("alg") not in ALGORITHMS:
        raise SignInRefused(Refused.ALGORITHM)
    found = header.get("kid")
    if found is not None and not isinstance(found, str):
        raise SignInRefused(Refused.UNREADABLE)
    return found


def signed_claims(text: str, keys: Sequence[Mapping[str, Any]]) -> Claims:
    """The claims, if one of ``keys`` with the token's ``kid`` signed them; without a ``kid``, if
    there is one key. Raises `SignInRefused`."""
    shown = key_id(text)
    algorithm = _header(text)["alg"]
    found = [key for key in keys if shown is None or key.get("kid") == shown]
    usable = [key for key in found if _usable(key, algorithm)]
    if len(usable) != 1:
        raise SignInRefused(Refused.KEY)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of keys that are too short
            claims: Claims = jwt.decode(
                text, _key(usable[0], algorithm), algorithms=[algorithm], options=_NOT_HERE
            )
    except SignInRefused:
        raise
    except (jwt.PyJWTError, ValueError, TypeError, Warning) as error:
        raise SignInRefused(Refused.SIGNATURE) from error
    return claims


def check_claims(claims: Claims, *, issuer: str, client_id: str, nonce: str, now_s: float) -> None:
    """Raises `SignInRefused`."""
    if claims.get("iss") != issuer:
        raise SignInRefused(Refused.ISSUER)
    _check_audience(claims, client_id)
    shown = claims.get("nonce")
    if not isinstance(shown, str) or not hmac.compare_digest(shown.encode(), nonce.encode()):
        raise SignInRefused(Refused.NONCE)
    expires_s, issued_s = _seconds(claims, "exp"), _seconds(claims, "iat")
    if now_s >= expires_s + SKEW_S:
        raise SignInRefused(Refused.EXPIRED)
    if not now_s - AGE_MAX_S - SKEW_S <= issued_s <= now_s + SKEW_S:
        raise SignInRefused(Refused.ISSUED_AT)
    if "nbf" in claims and _seconds(claims, "nbf") > now_s + SKEW_S:
        raise SignInRefused(Refused.ISSUED_AT)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= SUBJECT_CHARS_MAX:
        raise SignInRefused(Refused.UNREADABLE)


def _check_audience(claims: Claims, client_id: str) -> None:
    shown = claims.get("aud")
    audience = [shown] if isinstance(shown, str) else shown
    if not isinstance(audience, list) or client_id not in audience:
        raise SignInRefused(Refused.AUDIENCE)
    if (len(audience) > 1 or "azp" in claims) and claims.get("azp") != client_id:
        raise SignInRefused(Refused.AUDIENCE)


def _seconds(claims: Claims, name: str) -> float:
    found = claims.get(name)
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) < 1e11:
        raise SignInRefused(Refused.UNREADABLE)
    return found


def _header(text: str) -> Mapping[str, Any]:
    if len(text) > TOKEN_CHARS_MAX:
        raise SignInRefused(Refused.UNREADABLE)
    try:
        found: Mapping[str, Any] = jwt.get_unverified_header(text)
    except (jwt.PyJWTError, ValueError) as error:
        raise SignInRefused(Refused.UNREADABLE) from error
    return found


def _usable(key: Mapping[str, Any], algorithm: str) -> bool:
    """For signatures of this algorithm, and no shared secret."""
    kind = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}[algorithm[:2]]
    return (
        key.get("kty") == kind
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
    )


def _key(found: Mapping[str, Any], algorithm: str) -> PyJWK:
    made = PyJWK(dict(found), algorithm)
    if algorithm[0] in "RP" and made.key.key_size < RSA_BITS_MIN:
        raise SignInRefused(Refused.KEY)
    return made
