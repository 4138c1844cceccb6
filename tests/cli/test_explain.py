"""`siso explain` and `siso migrate new`."""

import pytest

from gateway.cli.explain import explanation
from repositories.sql.aggregate import aggregates
from tests.cli.siso import Siso

CATEGORY = r"""Category  life_lock.categories

Columns
  id          UUID
  user_id     UUID          a User, filtered
              The user who owns the category.
  name        str           1 to 100 characters, written, single line, searched, filtered, sorted
              The name, unique among the categories of the owner.
  color       str           #[0-9a-fA-F]{6}, default #3B82F6, written
              The colour as #RRGGBB.
  created_at  datetime      filtered, sorted
              The time when the row was created.
  updated_at  datetime      filtered, sorted
              The time of the last change.

Policy
  read   life_lock.categories.user_id = (SELECT auth.uid()) OR (SELECT auth.jwt() -> 'app_metadata' -> 'roles' ? 'admin')
  write  life_lock.categories.user_id = (SELECT auth.uid())
  roles that may read: admin, catalog_manager, order_manager, partnership_manager, user; that may write: admin, catalog_manager, order_manager, partnership_manager, user
  owner of the events: the column user_id

Constraints
  CHECK created_at >= '1900-01-01 00:00:00+00' AND created_at < '2200-01-01 00:00:00+00'
  CHECK length(color) = 7 AND substr(color, 1, 1) = '#' AND ltrim(substr(color, 2), '0123456789abcdefABCDEF') = ''
  CHECK length(name) BETWEEN 1 AND 100
  CHECK name !~ '[\u0001-\u001F\u007F-\u009F\u2028\u2029\u200B\u2060\uFEFF]'
  CHECK updated_at >= '1900-01-01 00:00:00+00' AND updated_at < '2200-01-01 00:00:00+00'
  UNIQUE user_id, id
  UNIQUE user_id, name

Filters
  id: IdFilter
  userId: IdFilter
  user: UserFilter
  name: TextFilter
  createdAt: DateTimeFilter
  updatedAt: DateTimeFilter

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
"""  # noqa: E501 (the output of a command)


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


def test_the_explained_list_is_the_one_that_runs(unmigrated: Siso) -> None:
    """It has the condition of the default scope, and the arguments have their defaults."""
    shown = unmigrated.expect_output("explain", "Task")
    page = next(line for line in shown.splitlines() if line.startswith("  a page: "))
    assert "WHERE tasks_1.deleted_at IS NULL AND tasks_1.user_id = $2::UUID ORDER BY" in page
    assert "scope: Scope, deleted: Trash! = EXCLUDE): TaskConnection" in shown
    assert "  category: CategoryFilter\n" in shown
    assert "  deletedAt: NullFilter\n" in shown


def test_every_aggregate_can_be_explained() -> None:
    for found in aggregates.values():
        lines = list(explanation(found))
        assert lines[0] == f"{found.type_name}  {found.table.schema}.{found.table.name}"


def test_an_unknown_aggregate(unmigrated: Siso) -> None:
    assert "Did you mean Task?" in unmigrated.expect_error("explain", "Taks")


def test_a_migration_needs_a_new_table_and_a_name(unmigrated: Siso) -> None:
    assert "Every declared table has a migration." in unmigrated.expect_error("migrate", "new", "notebook")
    assert "is not a name" in unmigrated.expect_error("migrate", "new", "No Name")
