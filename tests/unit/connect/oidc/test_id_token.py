"""An ID token proves a person only if each of its parts is right."""

from __future__ import annotations

import base64
import hmac
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from streams.connect.oidc.id_token import (
    AGE_MAX_S,
    SKEW_S,
    TOKEN_CHARS_MAX,
    check_claims,
    signed_claims,
)
from streams.connect.oidc.refused import Refused, SignInRefused
from streams.core.clock import VirtualClock
from tests.oidc_provider import CLIENT, ISSUER, OidcProviderTwin, public, signed

NOW_S = 1_700_000_000
GOOD = {
    "iss": ISSUER, "aud": CLIENT, "nonce": "n", "iat": NOW_S, "exp": NOW_S + 300, "sub": "u1",
}  # fmt: skip
EXPECTED = {"issuer": ISSUER, "client_id": CLIENT, "nonce": "n"}


@pytest.fixture(scope="module")
def twin() -> OidcProviderTwin:
    return OidcProviderTwin(VirtualClock())


@pytest.fixture(scope="module")
def keys(twin) -> list[dict]:
    return [public(*key) for key in twin.keys.items()]


def _encoded(part: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def test_a_good_token_gives_its_claims(twin, keys):
    """Otherwise the refusals below would prove nothing."""
    claims = signed_claims(signed(twin, GOOD), keys)
    check_claims(claims, **EXPECTED, now_s=NOW_S)
    assert claims["sub"] == "u1"


def _without_signature(twin, keys):
    return f"{_encoded({'alg': 'none'})}.{_encoded(GOOD)}."


def _by_the_public_key(twin, keys):
    """The classic confusion: HS256 with the public key as the secret."""
    signed_part = f"{_encoded({'alg': 'HS256', 'kid': keys[0]['kid']})}.{_encoded(GOOD)}"
    mark = hmac.digest(json.dumps(keys[0]).encode(), signed_part.encode(), "sha256")
    return f"{signed_part}.{base64.urlsafe_b64encode(mark).rstrip(b'=').decode()}"


def _of_another_key(twin, keys):
    other = ec.generate_private_key(ec.SECP256R1())
    return jwt.encode(GOOD, other, algorithm="ES256", headers={"kid": keys[0]["kid"]})


def _changed(twin, keys):
    head, _, mark = signed(twin, GOOD).split(".")
    return f"{head}.{_encoded({**GOOD, 'sub': 'admin'})}.{mark}"


def _with_a_key_inside(twin, keys):
    """``jwk`` of the header is the attacker's own."""
    other = ec.generate_private_key(ec.SECP256R1())
    shown = public("x", other)
    return jwt.encode(GOOD, other, algorithm="ES256", headers={"kid": "x", "jwk": shown})


@pytest.mark.parametrize(
    ("forged", "why"),
    [
        (_without_signature, Refused.ALGORITHM),
        (_by_the_public_key, Refused.ALGORITHM),
        (_of_another_key, Refused.SIGNATURE),
        (_changed, Refused.SIGNATURE),
        (_with_a_key_inside, Refused.KEY),
        (lambda twin, keys: signed(twin, GOOD, kid="unknown"), Refused.KEY),
        (lambda twin, keys: signed(twin, GOOD, crit=["exp"]), Refused.UNREADABLE),
        (lambda twin, keys: "a.b", Refused.UNREADABLE),
        (lambda twin, keys: "", Refused.UNREADABLE),
        (lambda twin, keys: "x" * (TOKEN_CHARS_MAX + 1), Refused.UNREADABLE),
    ],
)
def test_a_forged_token_is_refused(twin, keys, forged, why):
    """Only the provider's private key makes a person."""
    with pytest.raises(SignInRefused) as refused:
        signed_claims(forged(twin, keys), keys)
    assert refused.value.why is why


@pytest.mark.parametrize(
    "change",
    [{"use": "enc"}, {"alg": "ES384"}, {"kty": "oct", "k": "AAAA"}, {"kid": "other"}],
    ids=str,
)
def test_a_key_for_something_else_is_not_used(twin, keys, change):
    """A key for encryption, or a shared secret, signs no user in."""
    with pytest.raises(SignInRefused, match=Refused.KEY):
        signed_claims(signed(twin, GOOD), [{**keys[0], **change}])


def test_two_keys_of_one_name_are_refused(twin, keys):
    """A party that may add a key must not be able to shadow another."""
    with pytest.raises(SignInRefused, match=Refused.KEY):
        signed_claims(signed(twin, GOOD), [keys[0], keys[0]])


def test_a_short_rsa_key_is_refused():
    """Keys below 2048 bits can be computed."""
    key = rsa.generate_private_key(65537, 1024)
    shown = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key())), "kid": "k"}
    with pytest.warns(match="below"):
        text = jwt.encode(GOOD, key, algorithm="RS256", headers={"kid": "k"})
    with pytest.raises(SignInRefused) as refused:
        signed_claims(text, [shown])
    assert refused.value.why in (Refused.KEY, Refused.SIGNATURE)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"iss": "https://evil.example"}, Refused.ISSUER),
        ({"iss": None}, Refused.ISSUER),
        ({"aud": "another-client"}, Refused.AUDIENCE),
        ({"aud": ["another-client"]}, Refused.AUDIENCE),
        ({"aud": [CLIENT, "another-client"]}, Refused.AUDIENCE),
        ({"aud": [CLIENT, "another-client"], "azp": "another-client"}, Refused.AUDIENCE),
        ({"azp": "another-client"}, Refused.AUDIENCE),
        ({"aud": {CLIENT: 1}}, Refused.AUDIENCE),
        ({"nonce": "m"}, Refused.NONCE),
        ({"nonce": None}, Refused.NONCE),
        ({"nonce": 1}, Refused.NONCE),
        ({"exp": NOW_S - SKEW_S}, Refused.EXPIRED),
        ({"exp": "9999999999"}, Refused.UNREADABLE),
        ({"exp": None}, Refused.UNREADABLE),
        ({"exp": True}, Refused.UNREADABLE),
        ({"exp": float("nan")}, Refused.UNREADABLE),
        ({"iat": NOW_S + SKEW_S + 1}, Refused.ISSUED_AT),
        ({"iat": NOW_S - AGE_MAX_S - SKEW_S - 1}, Refused.ISSUED_AT),
        ({"nbf": NOW_S + SKEW_S + 1}, Refused.ISSUED_AT),
        ({"sub": ""}, Refused.UNREADABLE),
        ({"sub": 7}, Refused.UNREADABLE),
        ({"sub": "x" * 256}, Refused.UNREADABLE),
    ],
    ids=str,
)
def test_a_token_for_something_else_is_refused(change, why):
    """A true signature under another purpose, time or sign-in proves nothing here."""
    with pytest.raises(SignInRefused) as refused:
        check_claims({**GOOD, **change}, **EXPECTED, now_s=NOW_S)
    assert refused.value.why is why


@pytest.mark.parametrize(
    "change",
    [
        {"aud": [CLIENT]},
        {"aud": [CLIENT, "other"], "azp": CLIENT},
        {"iat": NOW_S + SKEW_S},
        {"exp": NOW_S - SKEW_S + 1},
    ],
    ids=str,
)
def test_clocks_may_differ_by_the_skew_and_audiences_may_be_lists(change):
    """Providers write both forms, and no clock is exact."""
    check_claims({**GOOD, **change}, **EXPECTED, now_s=NOW_S)
