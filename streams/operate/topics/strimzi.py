"""Topics and users as Strimzi resources ``KafkaTopic`` and ``KafkaUser``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from streams.core.topics.right import Right
from streams.core.types import TopicConfig

API_VERSION = "kafka.strimzi.io/v1"


def resources(topics: Iterable[TopicConfig], cluster: str) -> list[dict[str, Any]]:
    """Without a replication factor a topic gets the cluster's default."""
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "KafkaTopic",
            "metadata": {
                "name": _resource_name(topic.name),
                "labels": {"strimzi.io/cluster": cluster},
            },
            "spec": {
                "topicName": topic.name,
                "partitions": topic.partitions,
                **({"replicas": topic.replication_factor} if topic.replication_factor > 0 else {}),
                "config": dict(topic.config),
            },
        }
        for topic in topics
    ]


def user(name: str, rights: Iterable[Right], cluster: str) -> dict[str, Any]:
    """A user with SCRAM credentials, which Strimzi stores in a Secret of its name."""
    return {
        "apiVersion": API_VERSION,
        "kind": "KafkaUser",
        "metadata": {"name": name, "labels": {"strimzi.io/cluster": cluster}},
        "spec": {
            "authentication": {"type": "scram-sha-512"},
            "authorization": {"type": "simple", "acls": [_rule(right) for right in rights]},
        },
    }


def _rule(right: Right) -> dict[str, Any]:
    resource: dict[str, str] = {"type": right.resource}
    if right.name:
        resource |= {
            "name": right.name,
            "patternType": "prefix" if right.prefix else "literal",
        }
    return {"resource": resource, "operations": list(right.operations)}


def yaml(documents: Iterable[Mapping[str, Any]]) -> str:
    """Values are mappings, lists, texts and whole numbers."""
    return "".join("---\n" + "".join(_lines(document, "")) for document in documents)


def _lines(mapping: Mapping[str, Any], indent: str) -> Iterator[str]:
    for name, value in mapping.items():
        if isinstance(value, Mapping) and value:
            yield f"{indent}{name}:\n"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list):
            yield f"{indent}{name}:\n"
            yield from (f"{indent}  - {json.dumps(item)}\n" for item in value)
        else:
            # JSON strings, numbers and empty mappings are valid YAML.
            yield f"{indent}{name}: {json.dumps(value)}\n"


def _resource_name(topic: str) -> str:
    """Kubernetes names have no upper case and no underscores; topic names may."""
    return topic.lower().replace("_", "-")
