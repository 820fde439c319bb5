"""What claims grant, and that they grant nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.connect.access.tokens import Role
from streams.connect.oidc.configuration import ClaimGrant, OidcConfiguration, read_configuration
from streams.connect.oidc.grants import TENANTS_MAX, granted, person
from streams.connect.oidc.refused import Refused
from streams.core.errors import UsageError
from tests.oidc_provider import CLIENT, CONSOLE, ISSUER

GRANTS = [
    ClaimGrant(claim="groups", value="platform", role="admin", every_tenant=True),
    ClaimGrant(claim="groups", value="acme-ops", role="operate", tenant="acme"),
    ClaimGrant(claim="realm_access.roles", value="reader", role="read", tenant_claim="tenants"),
    ClaimGrant(claim="https://acme.example/role", value="x", role="read", tenant="dotted"),
]


@pytest.mark.parametrize(
    ("claims", "found"),
    [
        ({}, {}),
        ({"groups": "acme-ops"}, {"acme": Role.OPERATE}),
        ({"groups": ["a", "acme-ops"]}, {"acme": Role.OPERATE}),
        ({"groups": ["platform"]}, {None: Role.ADMIN}),
        ({"groups": {"platform": True}}, {}),
        ({"groups": [["platform"], 1, None, ""]}, {}),
        ({"groups": "platform2"}, {}),
        ({"groups": "Platform"}, {}),
        (
            {"realm_access": {"roles": ["reader"]}, "tenants": ["acme", "globex"]},
            {"acme": Role.READ, "globex": Role.READ},
        ),
        ({"realm_access": {"roles": ["reader"]}}, {}),
        ({"realm_access": {"roles": ["reader"]}, "tenants": ["", "x" * 129]}, {}),
        (
            {
                "groups": "acme-ops",
                "realm_access": {"roles": "reader"},
                "tenants": "acme",
            },
            {"acme": Role.OPERATE},
        ),
        ({"https://acme.example/role": "x"}, {"dotted": Role.READ}),
    ],
    ids=str,
)
def test_claims_grant_the_highest_role_of_each_tenant(claims, found):
    """Providers write groups as a string or a list, at the top or inside objects."""
    assert granted(claims, GRANTS) == found


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
_names = st.sampled_from(["groups", "tenants", "realm_access", "roles", "sub"])


@given(st.dictionaries(_names | st.text(max_size=9), _json))
def test_other_claims_grant_nothing(claims):
    """Law: whatever the claims are, a tenant is granted by a rule that names it, or by a value of
    ``tenants`` beside the role that the rule asks for; no user becomes an admin of every tenant but
    by the group of the rule."""
    for tenant, role in granted(claims, GRANTS).items():
        groups = claims.get("groups")
        held = groups if isinstance(groups, list) else [groups]
        if tenant is None:
            assert "platform" in held
        elif role is Role.OPERATE:
            assert tenant == "acme"
            assert "acme-ops" in held
        else:
            tenants = claims.get("tenants")
            listed = tenants if isinstance(tenants, list) else [tenants]
            assert tenant in listed or tenant == "dotted"


def test_a_person_with_many_tenants_is_bounded():
    """A claim may hold anything; a page of tenants and the memory may not."""
    claims = {"realm_access": {"roles": "reader"}, "tenants": [f"t{i}" for i in range(5000)]}
    assert len(granted(claims, GRANTS)) == TENANTS_MAX


def _wanted(issuer: str = ISSUER) -> OidcConfiguration:
    return OidcConfiguration(issuer=issuer, client_id=CLIENT, console=CONSOLE, grants=GRANTS)


def test_a_person_is_the_same_at_each_sign_in_and_another_at_another_issuer_or_tenant():
    """Sessions, views and the log of operations go by this id."""
    claims = {"sub": "u1", "email": "alice@acme.example"}
    first = person(claims, _wanted(), "acme", Role.READ, 1)
    assert person({"sub": "u1"}, _wanted(), "acme", Role.ADMIN, 2).id == first.id
    others = [
        person({"sub": "u2"}, _wanted(), "acme", Role.READ, 1),
        person(claims, _wanted(), "globex", Role.READ, 1),
        person(claims, _wanted(), None, Role.ADMIN, 1),
        person(claims, _wanted("https://id2.example"), "acme", Role.READ, 1),
    ]
    assert len({one.id for one in (first, *others)}) == 5
    assert (first.name, others[0].name) == ("alice@acme.example", "u2")
    assert not first.has_secret


def test_the_guides_example_is_a_file_that_grants_what_it_says(tmp_path):
    """People copy it."""
    page = (Path(__file__).parents[4] / "docs" / "signing_in.md").read_text()
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "oidc.toml"
    path.write_text(example)
    found = read_configuration(str(path))
    assert found is not None
    assert found.callback in page
    assert granted({"groups": ["acme-operators"]}, found.grants) == {"acme": Role.OPERATE}
    assert granted({"groups": ["platform"]}, found.grants) == {None: Role.ADMIN}
    reader = {"realm_access": {"roles": ["dia-reader"]}, "tenants": ["globex"]}
    assert granted(reader, found.grants) == {"globex": Role.READ}
    assert {why for why in Refused if f"`{why}`" not in page} <= {
        *(Refused.PROVIDER, Refused.NONCE, Refused.UNREADABLE)
    }


FILE = """
issuer = "https://id.example"
client_id = "dia-console"
console = "https://console.example/"

[[grants]]
claim = "groups"
value = "platform"
role = "admin"
every_tenant = true
"""


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("https://id.example", "http://id.example", "issuer is no https"),
        ("https://console", "ftp://console", "console is no https"),
        ("dia-console", "", "client_id is empty"),
        ('role = "admin"', 'role = "king"', "not one of read, operate, admin"),
        ('role = "admin"', 'role = "read"', "every_tenant needs"),
        ('value = "platform"\n', "", "every_tenant needs"),
        ("every_tenant = true", 'every_tenant = true\ntenant = "acme"', "has one of"),
        ("every_tenant = true", "", "has one of"),
        ("every_tenant = true", 'tenant = ""', "has one of"),
        ("every_tenant = true", "every_tennant = true", "every_tennant"),
        ("client_id", "client", "client"),
        ("[[grants]]", "[[grants", "docs/signing_in.md"),
        ("client_id", 'scopes = ["email"]\nclient_id', "openid"),
        ("client_id", "session_s = 43201\nclient_id", "session_s is from 60"),
    ],
)
def test_a_file_that_could_grant_too_much_is_refused(tmp_path, before, after, said):
    """A mistyped line must not open the console to more people than meant."""
    path = tmp_path / "oidc.toml"
    path.write_text(FILE)
    found = read_configuration(str(path))
    assert found is not None
    assert found.callback == "https://console.example/session/oidc/callback"
    path.write_text(FILE.replace(before, after))
    with pytest.raises(UsageError, match=said):
        read_configuration(str(path))


def test_many_tenants_take_no_role_of_every_tenant_away():
    """An admin of every tenant who is a member of many tenants, too, stays an admin of every tenant."""
    claims = {
        "groups": ["platform"],
        "realm_access": {"roles": "reader"},
        "tenants": [f"t{number}" for number in range(TENANTS_MAX + 1)],
    }
    found = granted(claims, GRANTS[::-1])
    assert found[None] is Role.ADMIN
    assert len(found) == TENANTS_MAX
