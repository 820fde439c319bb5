"""`dia schemas`: the events of the app's topics, their JSON Schemas, and compatibility checks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from streams.cli.command_group import command_group
from streams.cli.invocation import invocation

if TYPE_CHECKING:
    from streams.core.topics.topic import Topic


def register(app: typer.Typer) -> None:
    group = command_group("Show and check the schemas of events.")
    group.command("list")(list_versions)
    group.command()(show)
    group.command()(check)
    app.add_typer(group, name="schemas")


def list_versions(ctx: typer.Context) -> None:
    """Every version of the events of every topic.

    Example: dia schemas list
    """
    run = invocation(ctx)
    run.printer().rows(
        ("family", "version", "topic", "time_field", "type"),
        [
            (
                topic.schema,
                version,
                topic.name,
                topic.time_field or "",
                getattr(topic.versions[version], "__name__", str(topic.versions[version])),
            )
            for topic in run.topology.topics
            for version in sorted(topic.versions)
        ],
        ("time_field", "type"),
    )


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A schema or its topic.")],
    *,
    version: Annotated[int | None, typer.Option(help="Default: the latest.")] = None,
) -> None:
    """The JSON Schema of one version.

    Example: dia schemas show model_metric --version 1
    """
    from streams.connect.schema_registry.documents import document, encode

    topic, wanted = chosen_version(invocation(ctx).topology.topics, name, version)
    typer.echo(encode(document(topic, wanted)), nl=False)


def chosen_version(topics: Sequence[Topic], name: str, version: int | None) -> tuple[Topic, int]:
    """The topic of a schema or of itself, and the version; None is the latest. Raises `UsageError`."""
    from streams.core.errors import UsageError
    from streams.core.words.near_names import did_you_mean

    found = next((topic for topic in topics if name in (topic.schema, topic.name)), None)
    if found is None:
        known = [topic.schema for topic in topics]
        near = did_you_mean(name, [*known, *(topic.name for topic in topics)])
        raise UsageError(f"no schema or topic {name!r}.{near} Known schemas: {', '.join(known)}.")
    wanted = found.latest if version is None else version
    if wanted not in found.versions:
        published = ", ".join(map(str, found.versions))
        raise UsageError(f"{found.schema} has no version {wanted}. Published: {published}.")
    return found, wanted


def check(
    ctx: typer.Context,
    *,
    publish: Annotated[
        bool, typer.Option("--publish", help="Write the documents, if no change is broken.")
    ] = False,
) -> None:
    """Compare the types in the code with the published documents.

    Exit code 1 when they differ, 5 when old records would become unreadable.

    Example: dia schemas check
    """
    from streams.connect.schema_registry.documents import publish as write
    from streams.connect.schema_registry.documents import review
    from streams.core.errors import CommandError, RefusedBySafety, UsageError

    run = invocation(ctx)
    topics, folder = run.topology.topics, run.app.schemas
    if folder is None:
        raise UsageError(
            f"app {run.app.name} publishes no schemas. Name the folder of their documents: "
            f"App({run.app.name!r}, schemas=...)."
        )
    findings = review(topics, folder)
    run.printer().rows(
        ("schema", "state", "difference"),
        [
            (finding.name, finding.state, str(difference))
            for finding in findings
            for difference in finding.differences or ("",)
        ],
    )
    broken = [finding.name for finding in findings if finding.state == "broken"]
    if broken:
        raise RefusedBySafety(
            f"{', '.join(broken)} could not read records that are already published. Add a new "
            "version to the topic (versions=), with an upcaster (upcasters=)."
        )
    drifted = [finding.name for finding in findings if finding.state != "same"]
    if publish:
        write(topics, folder)
    elif drifted:
        raise CommandError(
            f"{', '.join(drifted)} differ from {folder}. Run `dia schemas check --publish` "
            "and commit the result."
        )
