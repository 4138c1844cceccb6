"""`siso schema`."""

from pathlib import Path

import typer
from graphql import (
    BreakingChange,
    DangerousChange,
    GraphQLSchema,
    GraphQLSyntaxError,
    build_schema,
    find_schema_changes,
)

from gateway.cli.console import CommandError, print_result
from schema import schema as contract


def export(file: Path | None) -> None:
    text = contract.as_str().rstrip() + "\n"
    if file is None:
        print_result(text.rstrip())
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from error


def check(against: Path) -> None:
    """Prints the changes since another schema; exits with code 1 if one of them breaks clients."""
    groups: dict[str, list[str]] = {"breaking": [], "dangerous": [], "safe": []}
    for change in find_schema_changes(_read(against), build_schema(contract.as_str())):
        kind = {BreakingChange: "breaking", DangerousChange: "dangerous"}.get(type(change), "safe")
        groups[kind].append(change.description)
    for kind, descriptions in groups.items():
        for description in descriptions:
            print_result(f"{kind:9}  {description}")
    print_result(", ".join(f"{len(descriptions)} {kind}" for kind, descriptions in groups.items()))
    if groups["breaking"]:
        raise typer.Exit(1)


def _read(file: Path) -> GraphQLSchema:
    try:
        return build_schema(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}.") from error
    except (GraphQLSyntaxError, TypeError, UnicodeDecodeError) as error:
        raise CommandError(f"{file} is not a GraphQL schema: {str(error).splitlines()[0].rstrip('.')}.") from error
