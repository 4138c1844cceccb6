"""The text of a migration that creates declared tables, for `siso migrate new`.

A migration never changes after it was released, so it repeats the declarations instead of importing them. The text is a
first version for the developer to read and correct.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from repositories.sql import types
from repositories.sql.policy import Rule, compile_for_ddl, policies
from repositories.sql.table import declared, metadata

_INDENT = "        "
_TYPES: dict[Any, str] = {
    types.Id: "Id()",
    types.Timestamp: "Timestamp()",
    types.Day: "Day()",
    types.Flag: "Flag()",
    types.Json: "Json()",
    sa.BigInteger: "sa.BigInteger()",
    sa.Integer: "sa.Integer()",
}


def new_tables(existing: Collection[str]) -> list[sa.Table]:
    """The declared tables that are not among the existing ones, in the order of their foreign keys."""
    return [table for table in metadata.sorted_tables if table.name not in existing and not table.info.get("is_view")]


def migration_text(
    tables: Sequence[sa.Table], existing: Collection[str], *, title: str, revision: str, down_revision: str
) -> str:
    """The module of a revision that creates the tables. ``existing`` are the names of the tables that exist."""
    known = {table.schema for table in metadata.tables.values() if table.name in existing}
    schemas = sorted({str(table.schema) for table in tables if table.schema not in known})
    body = "\n".join([*(f'    helpers.create_schema("{name}")' for name in schemas), *map(_create, tables)])
    dropped = [f'    op.drop_table("{table.name}", schema=helpers.schema("{table.schema}"))' for table in tables[::-1]]
    dropped += [f'    helpers.drop_schema("{name}")' for name in schemas]
    names = sorted({name.partition("(")[0] for name in _type_names(tables) if not name.startswith("sa.")})
    down = "\n".join(dropped)
    return f'''"""{title}"""

import sqlalchemy as sa
from alembic import op

from migrations import helpers
from migrations.column_types import {", ".join(names)}

revision = "{revision}"
down_revision = "{down_revision}"
branch_labels = None
depends_on = None


def upgrade() -> None:
{body}


def downgrade() -> None:
{down}
'''


def _type_names(tables: Iterable[sa.Table]) -> Iterable[str]:
    for table in tables:
        for column in table.columns:
            yield _type_name(column)


def _type_name(column: sa.Column[Any]) -> str:
    if isinstance(column.type, types.Fixed):
        return f"Fixed({column.type.precision}, {column.type.scale})"
    return _TYPES.get(type(column.type), "sa.Text()")


def _create(table: sa.Table) -> str:
    """The calls that create a table with its indexes and policies."""
    timestamps = {"created_at", "updated_at"} <= set(table.c.keys())
    own = [
        column for column in table.columns if column.name not in {"id", *(("created_at", "updated_at") * timestamps)}
    ]
    times = [column for column in table.columns if isinstance(column.type, types.Timestamp)]
    ranges = {f"ck_{table.name}_{column.name}_range" for column in times}
    entries = [
        "helpers.id_column()",
        *map(_column, own),
        *(["*helpers.timestamps()"] if timestamps else []),
        f'sa.PrimaryKeyConstraint("id", name="pk_{table.name}")',
        *(
            _constraint(table, each)
            for each in _sorted(table.constraints)
            if not isinstance(each, sa.PrimaryKeyConstraint) and _full_name(table, each) not in ranges
        ),
        *([f'*helpers.time_ranges("{table.name}", {_names(times)})'] if times else []),
        f'schema=helpers.schema("{table.schema}")',
    ]
    calls = [
        f'    op.create_table(\n{_INDENT}"{table.name}",\n'
        + "".join(f"{_INDENT}{entry},\n" for entry in entries)
        + "    )"
    ]
    calls += [_index(table, index) for index in sorted(table.indexes, key=lambda index: str(index.name))]
    calls.append(_security(table))
    calls += [_transitions(table, column) for column in table.columns if declared(column).transitions is not None]
    return "\n".join(calls)


def _sorted(constraints: Iterable[sa.Constraint]) -> list[sa.Constraint]:
    kinds = (sa.UniqueConstraint, sa.ForeignKeyConstraint, sa.CheckConstraint)
    return sorted(
        constraints,
        key=lambda each: (next((i for i, k in enumerate(kinds) if isinstance(each, k)), -1), str(each.name)),
    )


def _column(column: sa.Column[Any]) -> str:
    default: Any = column.server_default
    parts = [f'"{column.name}"', _type_name(column)]
    if column.identity is not None:
        parts.append("sa.Identity(always=True)")
    if not column.nullable:
        parts.append("nullable=False")
    if default is not None:
        parts.append(f'server_default=sa.text("{default.arg.text}")')
    return f"sa.Column({', '.join(parts)})"


def _names(columns: Iterable[Any]) -> str:
    return ", ".join(f'"{column.name}"' for column in columns)


def _constraint(table: sa.Table, constraint: sa.Constraint) -> str:
    name = f'name="{_full_name(table, constraint)}"'
    if isinstance(constraint, sa.UniqueConstraint):
        return f"sa.UniqueConstraint({_names(constraint.columns)}, {name})"
    if isinstance(constraint, sa.ForeignKeyConstraint):
        targets = ", ".join(f'helpers.ref("{element.target_fullname}")' for element in constraint.elements)
        return f"sa.ForeignKeyConstraint([{_names(constraint.columns)}], [{targets}], {name})"
    assert isinstance(constraint, sa.CheckConstraint)  # noqa: S101 (there is no other kind)
    texts = [_literal(constraint, dialect) for dialect in (postgresql.dialect(), sqlite.dialect())]  # type: ignore[no-untyped-call]
    text = _quoted(texts[0])
    if texts[0] != texts[1]:
        text = f"helpers.per_engine({text}, sqlite={_quoted(texts[1])})"
    check = f'sa.CheckConstraint({text}, name=op.f("{_full_name(table, constraint)}"))'
    only = constraint._ddl_if  # noqa: SLF001 (no public attribute has it)
    return f'{check}.ddl_if(dialect="{only.dialect}")' if only is not None else check


def _literal(constraint: sa.CheckConstraint, dialect: Any) -> str:
    return str(constraint.sqltext.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


def _quoted(text: str) -> str:
    return f'r"{text}"' if "\\" in text else f'"{text}"'


def _full_name(table: sa.Table, constraint: sa.Constraint) -> str:
    """The name by the naming convention."""
    if isinstance(constraint, sa.CheckConstraint):
        return f"ck_{table.name}_{constraint.name}".replace(f"ck_{table.name}_ck_{table.name}_", f"ck_{table.name}_")
    if constraint.name is not None and not str(constraint.name).startswith("_"):
        return str(constraint.name)
    kind = "uq" if isinstance(constraint, sa.UniqueConstraint) else "fk"
    columns: Any = constraint
    return f"{kind}_{table.name}_" + "_".join(column.name for column in columns.columns)


def _index(table: sa.Table, index: sa.Index) -> str:
    unique = ", unique=True" if index.unique else ""
    columns = ", ".join(f'"{column.name}"' for column in index.columns)
    call = (
        f'op.create_index("{index.name}", "{table.name}", [{columns}]{unique}, schema=helpers.schema("{table.schema}"))'
    )
    where = index.dialect_options["postgresql"]["where"]
    if where is not None:
        call = call[:-1] + f', postgresql_where=sa.text("{where.text}"), sqlite_where=sa.text("{where.text}"))'
    return f"    {call}"


def _security(table: sa.Table) -> str:
    policy = policies[table]
    secret = [str(column.name) for column in table.columns if declared(column).secret]
    arguments = [
        f'"{table.schema}.{table.name}"',
        f"read={_condition(table, policy.read)}",
        f"write={_condition(table, policy.write)}",
        *([f"secret={secret!r}".replace("'", '"')] if secret else []),
    ]
    return f"    helpers.row_level_security({', '.join(arguments)})"


_HAS_ROLE = re.compile(r"\(SELECT auth\.jwt\(\) -> 'app_metadata' -> 'roles' \? '(\w+)'\)")


def _condition(table: sa.Table, rule: Rule) -> str:
    """The condition of a policy, with the helpers of migrations where they say the same."""
    text = compile_for_ddl(rule)
    owned = re.compile(rf"{table.schema}\.{table.name}\.(\w+) = \(SELECT auth\.uid\(\)\)")
    shown = _HAS_ROLE.sub(r"{helpers.has_role('\1')}", owned.sub(r"{helpers.owned_by('\1')}", text))
    return f'"{text}"' if shown == text else f'f"{shown}"'


def _transitions(table: sa.Table, column: sa.Column[Any]) -> str:
    pairs = [f"{before}>{after}" for before, every in (declared(column).transitions or {}).items() for after in every]
    listed = ", ".join(f'"{pair}"' for pair in pairs)
    return f'    helpers.limit_transitions("{table.schema}", "{table.name}", "{column.name}", [{listed}])'
