"""`siso explain` and `siso migrate new`."""

import pytest

from gateway.cli.explain import explanation
from repositories.sql.aggregate import aggregates
from tests.cli.siso import Siso

CATEGORY = """Category  life_lock.categories

Columns
  id          UUID
  user_id     UUID          filtered
  name        str           1 to 100 characters, written, searched, filtered, sorted
  color       str           written
  created_at  datetime      filtered, sorted
  updated_at  datetime      filtered, sorted

Policy
  read   life_lock.categories.user_id = (SELECT auth.uid()) OR {}
  write  life_lock.categories.user_id = (SELECT auth.uid())
  roles that may read: admin, catalog_manager, order_manager, partnership_manager, user; that may write: admin, catalog_manager, order_manager, partnership_manager, user
  owner of the events: the column user_id

Filters
  id, user_id, name, created_at, updated_at

Search
  name

Sort keys
  name, created_at, updated_at

Default order
  name asc

Groups
  user_id

Queries
  category(id: ID!): Category
""".format("(SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? 'admin')")  # noqa: E501 (the output of a command)


@pytest.mark.parametrize("name", ["Category", "category", "categories"])
def test_an_aggregate_is_explained(unmigrated: Siso, name: str) -> None:
    shown = unmigrated.expect_output("explain", name)
    assert shown.startswith(CATEGORY)
    *_, events, statements = shown.split("\n\n")
    assert events.splitlines() == ["Events", "  CategoryCreated", "  CategoryDeleted", "  CategoryUpdated"]
    title, by_id, page = statements.splitlines()
    assert title == "Statements"
    assert by_id.startswith("  rows by id: SELECT ")
    assert "WHERE categories.user_id = $1::UUID" in page


def test_every_aggregate_can_be_explained() -> None:
    for found in aggregates.values():
        lines = list(explanation(found))
        assert lines[0] == f"{found.type_name}  {found.table.schema}.{found.table.name}"


def test_an_unknown_aggregate(unmigrated: Siso) -> None:
    assert "Did you mean Task?" in unmigrated.expect_error("explain", "Taks")


def test_a_migration_needs_a_new_table_and_a_name(unmigrated: Siso) -> None:
    assert "Every declared table has a migration." in unmigrated.expect_error("migrate", "new", "notebook")
    assert "is not a name" in unmigrated.expect_error("migrate", "new", "No Name")
