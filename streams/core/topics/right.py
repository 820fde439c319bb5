"""One rule of a Kafka authorizer: what a user may do with a resource."""

from __future__ import annotations

from typing import Literal, NamedTuple

Resource = Literal["topic", "group", "transactionalId", "cluster"]


class Right(NamedTuple):
    """Allows ``operations`` on a resource, or with ``prefix`` on all whose names begin with
    ``name``. Resources and operations have Strimzi's names. The cluster's name is ""."""

    resource: Resource
    name: str
    operations: tuple[str, ...]
    prefix: bool = False
