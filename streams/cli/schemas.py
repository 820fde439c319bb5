"""`dia schemas`: the event families, their JSON Schemas, and whether a change is safe."""

from __future__ import annotations

from typing import Annotated

import typer

from streams.cli.invocation import invocation


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Show and check the schemas of events.")
    group.command("list")(list_versions)
    group.command()(show)
    group.command()(check)
    app.add_typer(group, name="schemas")


def list_versions(ctx: typer.Context) -> None:
    """Every version of every event family, and the topic it flows in."""
    from schemas.registry import FAMILIES

    invocation(ctx).printer().rows(
        ("family", "version", "topic", "time_field", "type"),
        [
            (
                family.name,
                version,
                family.topic,
                family.time_field,
                family.versions[version].__name__,
            )
            for family in FAMILIES
            for version in sorted(family.versions)
        ],
    )


def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A family or its topic.")],
    *,
    version: Annotated[int | None, typer.Option(help="Default: the latest.")] = None,
) -> None:
    """The JSON Schema of one version."""
    from schemas.documents import document, encode
    from schemas.registry import FAMILIES
    from streams.errors import UsageError

    found = [family for family in FAMILIES if name in (family.name, family.topic)]
    if not found:
        known = ", ".join(family.name for family in FAMILIES)
        raise UsageError(f"no event family or topic {name!r}. Known families: {known}.")
    wanted = found[0].latest if version is None else version
    if wanted not in found[0].versions:
        known = ", ".join(map(str, found[0].versions))
        raise UsageError(f"{found[0].name} has no version {wanted}. Published: {known}.")
    typer.echo(encode(document(found[0], wanted)), nl=False)


def check(
    ctx: typer.Context,
    *,
    publish: Annotated[
        bool, typer.Option("--publish", help="Write the documents, if no change is broken.")
    ] = False,
) -> None:
    """Compare the types in the code with the published documents.

    Exit code 1 when they differ, 5 when old records could not be read any more.
    """
    from schemas.documents import publish as write
    from schemas.documents import review
    from streams.errors import CommandError, RefusedBySafety

    findings = review()
    invocation(ctx).printer().rows(
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
            "version to schemas/registry.py, with an upcaster in schemas/evolution.py."
        )
    drifted = [finding.name for finding in findings if finding.state != "same"]
    if publish:
        write()
    elif drifted:
        raise CommandError(
            f"{', '.join(drifted)} differ from schemas/generated. Run `dia schemas check --publish` "
            "and commit the result."
        )
