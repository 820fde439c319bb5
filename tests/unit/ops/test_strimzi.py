"""`dia topics render` equals what `dia topics apply` does; `dia topics rights` lists each role's
rights.
"""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from agents.app import app
from streams import App
from streams.cli import main
from streams.core.types import TopicPartition
from streams.operate.replay.shed_return import ShedSpan
from streams.operate.topics.rights import KafkaRole, rights
from streams.operate.topics.topics import wanted_topics

ROOT = Path(__file__).parents[3]
SCHEMAS = Path(__file__).parent / "crds"
POSTED = ("model.metrics", "train.results", "decision.simulation.request")
"""Topics that an edge appends to."""


def _schema(kind):
    return json.loads((SCHEMAS / f"{kind}.json").read_text())


@pytest.fixture
def rendered(capsys):
    assert main(["topics", "render", "--cluster", "main", "--replication-factor", "3"]) == 0
    return list(yaml.safe_load_all(capsys.readouterr().out))


def test_resources_equal_the_topology(rendered):
    """Otherwise `dia topics apply` would correct the operator's topics each time."""
    assert [
        (one["spec"]["topicName"], one["spec"]["partitions"], one["spec"]["config"])
        for one in rendered
    ] == [
        (topic.name, topic.partitions, dict(topic.config))
        for topic in wanted_topics(app.topology, replication_factor=3)
    ]
    assert {one["spec"]["replicas"] for one in rendered} == {3}


def test_resources_keep_to_the_schema_and_their_names_differ(rendered):
    """Kubernetes allows fewer characters in names than Kafka: two topics must not become one
    resource.
    """
    for one in rendered:
        jsonschema.validate(one, _schema("KafkaTopic"))
    assert len({one["metadata"]["name"] for one in rendered}) == len(rendered)


def test_a_number_in_place_of_a_text_is_detected(rendered):
    """YAML reads -1 as a number, which the schema must refuse."""
    rendered[0]["spec"]["config"]["retention.ms"] = -1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(rendered[0], _schema("KafkaTopic"))


def test_json_and_yaml_are_equal(rendered, capsys):
    """Tools read JSON, users YAML."""
    arguments = ["topics", "render", "--cluster", "main", "--replication-factor", "3", "--json"]
    assert main(arguments) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rendered


def test_without_a_factor_the_cluster_decides(capsys):
    """Kafka uses -1 for the cluster's default, Strimzi an absent field."""
    assert main(["topics", "render"]) == 0
    for one in yaml.safe_load_all(capsys.readouterr().out):
        assert "replicas" not in one["spec"]


def _rights(user):
    """Operations that a user may do with a resource, by its kind and name."""

    def allowed(kind, name):
        found = set()
        for acl in user["spec"]["authorization"]["acls"]:
            resource = acl["resource"]
            literal = resource.get("patternType", "literal") == "literal"
            named = resource.get("name", name)
            meant = name == named if literal else name.startswith(named)
            found |= set(acl["operations"]) if resource["type"] == kind and meant else set()
        return found

    return allowed


@pytest.fixture
def principals(capsys):
    """The rights of each rendered user, by its name."""
    assert main(["topics", "rights", "--strimzi"]) == 0
    users = list(yaml.safe_load_all(capsys.readouterr().out))
    for user in users:
        jsonschema.validate(user, _schema("KafkaUser"))
    return {user["metadata"]["name"]: _rights(user) for user in users}


def test_operators_have_the_rights_of_every_command(rendered, principals):
    """A missing right would show only at the trim of a changelog or a new transaction."""
    allowed = principals["dia"]
    for one in rendered:
        topic = one["spec"]["topicName"]
        assert {"Read", "Write", "Create", "Alter", "DescribeConfigs"} <= allowed("topic", topic)
        state = topic.endswith(".changelog") and not topic.startswith("dia.dia-replay.")
        assert ("Delete" in allowed("topic", topic)) is state, topic
    for group, topic in app.topology.sources():
        assert "Read" in allowed("group", group)
        assert "Read" in allowed("group", f"dia-breaker-{group}")
        own = f"{group}.{topic.name}-0"
        for name in (own, f"dia-shed-{group}", f"dia-breaker-{own}"):
            assert "Write" in allowed("transactionalId", name), name


def test_rights_follow_the_app():
    """An app with another name and other topics must get no right on the built-in app's."""
    other = App("shop")
    orders = other.topic("orders", value_type=bytes)

    @other.agent(orders)
    async def count(events):
        async for _ in events:
            pass

    for role in KafkaRole:
        for right in rights(other.topology, role):
            if right.resource == "topic":
                assert right.name.startswith(("orders", "shop.")), right
            if right.resource in {"group", "transactionalId"} and role is not KafkaRole.EDGE:
                assert "shop-" in right.name or right.name == "dia-shed-", right


def test_operators_of_any_app_bring_shed_ranges_back():
    """Neither the group nor the producer of such a range contains the app's name."""
    tp = TopicPartition("orders", 0)
    name = ShedSpan(order="o", tp=tp, first=0, until=1, at_ms=0).name
    may = {
        (right.resource, operation)
        for right in rights(App("shop").topology, KafkaRole.OPERATOR)
        if right.name == name or (right.prefix and name.startswith(right.name))
        for operation in right.operations
    }
    assert {("group", "Read"), ("group", "Describe"), ("transactionalId", "Write")} <= may


@pytest.mark.parametrize("text", ["worker", "worker=", "boss=x"])
def test_a_user_of_no_role_is_refused(text, capsys):
    """A misspelt role would make a user without rights, without an error."""
    assert main(["topics", "grant", "--user", text]) == 2
    assert "roles are operator, worker, edge, console" in capsys.readouterr().err


def test_each_principal_has_the_rights_of_its_work(rendered, principals):
    """Otherwise the first pod with its own user could not work."""
    worker, edge, console = (principals[f"dia-{name}"] for name in ("worker", "edge", "console"))
    for one in rendered:
        topic = one["spec"]["topicName"]
        assert {"Read", "Write", "Describe", "DescribeConfigs"} <= worker("topic", topic), topic
        journal = topic.startswith("dia.dia-replay.")
        if topic.endswith(".changelog"):
            assert ("Delete" in worker("topic", topic)) is not journal, topic
        if journal:
            assert {"Read", "Write"} <= console("topic", topic)
        if topic.endswith(".dlq"):
            assert {"Read", "Describe"} <= console("topic", topic)
        if topic.endswith(".parked"):
            assert {"Read", "Write", "Describe"} <= console("topic", topic)
        if topic.endswith(".changelog"):
            assert {"Read", "Describe"} <= console("topic", topic)
    for topic in POSTED:
        assert {"Read", "Write", "Describe"} <= edge("topic", topic)
        assert {"Read", "Write", "Describe"} <= console("topic", topic)
        assert "Write" in edge("transactionalId", f"dia-edge-x-{topic}")
    for group, topic in app.topology.sources():
        assert "Read" in worker("group", group)
        assert "Write" in worker("transactionalId", f"{group}.{topic.name}-0")
        assert {"Describe"} <= console("group", group)
        assert "Read" in console("group", f"dia-shed-{group}")


def test_listening_components_lack_the_rights_of_a_worker(rendered, principals):
    """An attacker with access to an edge or a console must not be able to fence workers, or to
    write state and dead letters; a console parks letters, and so writes to parking lots.
    """
    for name in ("edge", "console"):
        allowed = principals[f"dia-{name}"]
        assert "Write" not in allowed("transactionalId", "dia-group.model.metrics-0")
        for one in rendered:
            topic = one["spec"]["topicName"]
            parked = name != "console" and topic.endswith(".parked")
            state = parked or topic.endswith((".changelog", ".dlq"))
            if state and not topic.startswith("dia.dia-replay."):
                assert "Write" not in allowed("topic", topic), topic
            assert not {"Delete", "Create", "Alter", "AlterConfigs"} & allowed("topic", topic)
    assert all("Read" not in principals["dia-edge"]("topic", f"{topic}.dlq") for topic in POSTED)
