"""The provider over HTTP: discovery, its keys and their rotation, and how the console proves itself."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs

import httpx
import msgspec
import pytest

from streams.connect.oidc.configuration import ClaimGrant, OidcConfiguration
from streams.connect.oidc.provider import ANSWER_BYTES_MAX, KEYS_AGAIN_S, METADATA_S, OidcProvider
from streams.connect.oidc.refused import Refused, SignInRefused
from streams.core.clock import VirtualClock
from streams.core.errors import SignInProviderUnavailable
from tests.oidc_provider import CLIENT, CONSOLE, ISSUER, OidcProviderTwin, signed

WANTED = OidcConfiguration(
    issuer=ISSUER,
    client_id=CLIENT,
    console=CONSOLE,
    grants=[ClaimGrant(claim="groups", value="ops", role="read", tenant="acme")],
)
SECRET = {"verifier": "v" * 43, "nonce": "n" * 43}


@dataclass
class Both:
    """A provider, and the console's side of it."""

    clock: VirtualClock
    twin: OidcProviderTwin
    provider: OidcProvider

    async def sign_in(self) -> str:
        url = await self.provider.sign_in_url(state="s", **SECRET)
        code = parse_qs(self.twin.answer(url).partition("?")[2])["code"][0]
        found = await self.provider.identity(code=code, **SECRET)
        return str(found.claims["sub"])


def made(wanted: OidcConfiguration = WANTED) -> Both:
    clock = VirtualClock()
    twin = OidcProviderTwin(clock)
    return Both(clock, twin, OidcProvider(wanted, clock, twin.transport))


async def test_keys_and_metadata_are_read_once_and_a_new_key_at_its_first_token():
    """Providers rotate their keys without notice, and the first person after it must get in."""
    both = made()
    assert await both.sign_in() == "u1"
    assert await both.sign_in() == "u1"
    assert both.twin.asked.count("/keys") == 1
    both.twin.rotate()
    await both.clock.advance(KEYS_AGAIN_S)
    assert await both.sign_in() == "u1"
    assert both.twin.asked.count("/keys") == 2
    assert both.twin.asked.count("/.well-known/openid-configuration") == 1
    await both.clock.advance(METADATA_S)
    assert await both.sign_in() == "u1"
    assert both.twin.asked.count("/.well-known/openid-configuration") == 2


async def test_tokens_of_unknown_keys_make_no_console_ask_without_end():
    """A client could otherwise have the console load the provider."""
    both = made()
    await both.sign_in()
    both.twin.sign = lambda twin, claims: signed(twin, claims, kid="unknown")
    for _ in range(10):
        with pytest.raises(SignInRefused, match=Refused.KEY):
            await both.sign_in()
    assert both.twin.asked.count("/keys") == 1


@pytest.mark.parametrize(
    "said", ["https://id.example/", "https://other.example", "http://id.example"]
)
async def test_a_provider_that_says_another_issuer_is_refused(said):
    """Else the provider of one tenant could speak for another's (mix-up)."""
    both = made()
    both.twin.metadata["issuer"] = said
    with pytest.raises(SignInProviderUnavailable, match="says that it is"):
        await both.sign_in()


@pytest.mark.parametrize("name", ["authorization_endpoint", "token_endpoint", "jwks_uri"])
async def test_endpoints_without_tls_are_refused(name):
    """A code, or a key, would travel in the clear."""
    both = made()
    both.twin.metadata[name] = "http://id.example/x"
    with pytest.raises(SignInProviderUnavailable, match=name):
        await both.sign_in()


async def test_a_code_is_good_once_and_for_its_verifier_only():
    """A stolen code opens nothing without the verifier, which never leaves the console."""
    both = made()
    url = await both.provider.sign_in_url(state="s", **SECRET)
    assert SECRET["verifier"] not in url
    code = parse_qs(both.twin.answer(url).partition("?")[2])["code"][0]
    with pytest.raises(SignInRefused, match=Refused.CODE):
        await both.provider.identity(code=code, verifier="w" * 43, nonce=SECRET["nonce"])
    code = parse_qs(both.twin.answer(url).partition("?")[2])["code"][0]
    await both.provider.identity(code=code, **SECRET)
    with pytest.raises(SignInRefused, match=Refused.CODE):
        await both.provider.identity(code=code, **SECRET)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(500), "answered 500"),
        (httpx.Response(302, headers={"Location": "https://id.example/x"}), "answered 302"),
        (httpx.Response(200, content=b"<html>"), "cannot be read"),
        (httpx.Response(200, content=b" " * (ANSWER_BYTES_MAX + 1)), "more than 1 MiB"),
    ],
    ids=["error", "redirect", "no-json", "too-large"],
)
async def test_answers_that_cannot_be_used_are_the_providers_fault(answer, said):
    """They must not look like a refusal of the person, nor fill the memory."""
    transport = httpx.MockTransport(lambda request: answer)
    provider = OidcProvider(WANTED, VirtualClock(), transport)
    with pytest.raises(SignInProviderUnavailable, match=said):
        await provider.metadata()


async def test_a_provider_that_answers_byte_by_byte_is_away_after_the_time_that_it_has():
    """Each byte comes in time, and the person would wait for a million of them."""

    async def drip() -> AsyncIterator[bytes]:
        while True:
            await asyncio.sleep(0.01)
            yield b" "

    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=drip()))
    wanted = msgspec.structs.replace(WANTED, timeout_s=0.1)
    provider = OidcProvider(wanted, VirtualClock(), transport)
    with pytest.raises(SignInProviderUnavailable, match=r"within 0\.1 s"):
        await provider.metadata()


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_secret_is_shown_as_the_provider_takes_it(tmp_path, method):
    """Providers refuse a client that shows its secret in the other place."""
    secret = tmp_path / "secret"
    secret.write_text("p:ss/w rd\n")
    secret.chmod(0o600)
    both = made(msgspec.structs.replace(WANTED, client_secret_file=str(secret)))
    both.twin.metadata["token_endpoint_auth_methods_supported"] = [method]
    await both.sign_in()
    shown = both.twin.shown
    form = parse_qs(shown.content.decode())
    if method == "client_secret_basic":
        pair = base64.b64encode(b"dia-console:p%3Ass%2Fw%20rd").decode()
        assert shown.headers["authorization"] == f"Basic {pair}"
        assert "client_secret" not in form
    else:
        assert form["client_secret"] == ["p:ss/w rd"]
        assert "authorization" not in shown.headers


async def test_the_issuer_of_an_answer_is_checked():
    """RFC 9207: an answer of another provider must not be shown to this one."""
    both = made()
    await both.provider.check_issuer(None)
    await both.provider.check_issuer(ISSUER)
    with pytest.raises(SignInRefused, match=Refused.ISSUER):
        await both.provider.check_issuer("https://evil.example")
    strict = made()
    strict.twin.metadata["authorization_response_iss_parameter_supported"] = True
    with pytest.raises(SignInRefused, match=Refused.ISSUER):
        await strict.provider.check_issuer(None)
