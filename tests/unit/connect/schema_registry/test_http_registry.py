"""The registry over HTTP, against a listening server: which responses count as answers."""

from __future__ import annotations

import base64

import pytest

from streams.connect.schema_registry.connecting import check_named, connect_to
from streams.connect.schema_registry.http import HttpRegistry
from streams.connect.schema_registry.registry import SchemaRegistry
from streams.core.clock import SystemClock
from streams.core.errors import SchemaPending, SchemaRefused, SchemaRegistryUnavailable, UsageError
from streams.core.formats.schema_source import RegisteredSchema, SchemaReference, Subject
from streams.core.settings import Settings
from streams.core.telemetry.metrics import Metrics
from tests.registry_server import registry_server

ORDER = Subject("orders-value", "AVRO", '{"type":"record","name":"Order","fields":[]}')
PROTO = Subject("acme/pb-value", "PROTOBUF", 'syntax = "proto3"; message Order {}')


@pytest.fixture(scope="module")
def server():
    with registry_server() as running:
        yield running


@pytest.fixture
def registry(server):
    server.mode = ""
    server.asked.clear()
    return HttpRegistry(server.url, timeout_s=30.0)


async def test_a_registered_schema_is_found_by_its_id(registry):
    """Avro is the default type in the registry's API; a subject may contain a slash."""
    for subject in (ORDER, PROTO):
        number = await registry.register(subject)
        assert await registry.register(subject) == number
        assert await registry.schema(number) == RegisteredSchema(subject.kind, subject.text)
        looked_up = subject._replace(register=False)
        assert await registry.register(looked_up) == number


async def test_references_come_with_a_schema_innermost_first(registry):
    """A parser reads them in this order and does not ask the registry."""
    money = Subject("money", "AVRO", '{"type":"fixed","name":"Money","size":8}')
    price = Subject(
        "price", "AVRO",
        '{"type":"record","name":"Price","fields":[{"name":"m","type":"Money"}]}',
        references=(SchemaReference("Money", "money", 1),),
    )  # fmt: skip
    sale = Subject(
        "sale", "AVRO",
        '{"type":"record","name":"Sale","fields":[{"name":"p","type":"Price"}]}',
        references=(SchemaReference("Price", "price", 1),),
    )  # fmt: skip
    numbers = [await registry.register(one) for one in (money, price, sale)]
    found = await registry.schema(numbers[-1])
    assert found == RegisteredSchema(
        "AVRO", sale.text, (("Money", money.text), ("Price", price.text))
    )


async def test_an_unknown_id_counts_as_an_answer(registry):
    """Its records become dead letters at once: waiting would not help."""
    assert await registry.schema(4_000_000_000) is None


@pytest.mark.parametrize("mode", ["500", "503", "404", "401", "garbage", "large"])
async def test_other_responses_do_not_count_as_answers(registry, server, mode):
    """A proxy's 404, a login page and a wrong password say nothing about a schema."""
    server.mode = mode
    with pytest.raises(SchemaRegistryUnavailable):
        await registry.schema(1)
    with pytest.raises(SchemaRegistryUnavailable):
        await registry.register(ORDER)


async def test_a_timeout_does_not_count_as_an_answer(server):
    """A registry that accepts connections and does not answer must not block beyond the deadline."""
    server.mode = "slow"
    with pytest.raises(SchemaRegistryUnavailable, match="does not answer"):
        await HttpRegistry(server.url, timeout_s=0.05).schema(1)
    server.mode = ""
    with pytest.raises(SchemaRegistryUnavailable):
        await HttpRegistry("http://127.0.0.1:1", timeout_s=30.0).schema(1)


async def test_an_incompatible_schema_is_refused(registry, server):
    """Status 409 is about the schema and permanent: the writer stops."""
    server.mode = "409"
    with pytest.raises(SchemaRefused, match="READER_FIELD_MISSING"):
        await registry.register(ORDER)
    server.mode = ""
    never = Subject("orders-value", "AVRO", '"string"', register=False)
    with pytest.raises(SchemaRefused, match="does not have"):
        await registry.register(never)


async def test_credentials_are_sent_and_a_missing_password_file_is_transient(
    registry, server, tmp_path
):
    """The password file is read for each request; an unreadable one may come back."""
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)
    settings = Settings(
        schema_registry_url=server.url,
        schema_registry_user="dia",
        schema_registry_password_file=str(secret),
        schema_registry_timeout_s=30.0,
    )
    known = HttpRegistry.from_settings(settings)
    await known.schema(1)
    assert server.logins[-1] == "Basic " + base64.b64encode(b"dia:s3cret").decode()
    secret.unlink()
    with pytest.raises(SchemaRegistryUnavailable):
        await known.schema(1)


async def test_a_schema_is_requested_once(registry, server):
    """A schema of an id never changes; a later outage does not affect it."""
    number = await registry.register(ORDER)
    server.asked.clear()
    source = SchemaRegistry(registry, SystemClock(), Metrics())
    with pytest.raises(SchemaPending) as pending:
        source.by_id([number, 77])
    await pending.value.obtain()
    server.mode = "500"
    found = source.by_id([number, 77])
    assert (found[number].text, found[77]) == (ORDER.text, None)
    assert server.asked == [f"GET /schemas/ids/{number}", "GET /schemas/ids/77"]


def test_an_invalid_address_is_refused():
    """The error comes at the start instead of at the first record."""
    with pytest.raises(UsageError, match="DIA_SCHEMA_REGISTRY_URL=localhost:8081"):
        HttpRegistry("localhost:8081", timeout_s=1.0)


def test_an_app_without_its_registry_setting_is_refused(acme):
    """The worker ends with the name of the setting, instead of pausing every partition."""
    topics = acme.topics.values()
    with pytest.raises(UsageError, match="Set DIA_SCHEMA_REGISTRY_URL"):
        check_named(Settings(), topics)
    connect_to(Settings(schema_registry_url="http://127.0.0.1:1"), topics, SystemClock(), Metrics())
    with pytest.raises(SchemaPending):
        acme.topics["orders"].codec.decoder(dict)([b"\0\0\0\0\1"])
