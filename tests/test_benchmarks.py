"""The benchmarks send valid operations and tokens, replay recorded rows, and write their tables correctly."""

import re
import runpy
from pathlib import Path
from uuid import UUID

import pytest
from graphql import parse, validate
from strawberry.schema._graphql_core import BaseGraphQLExecutionContext

from benchmarks import race
from benchmarks.executors import OPERATIONS, Case, execute_case
from benchmarks.page import replace_section
from benchmarks.replay import record_operations
from benchmarks.rig import GATEWAY
from gateway.auth.tokens import Tokens
from repositories.permissions import RoleName
from repositories.sql.statements import Statement
from resolvers.request.context import Context
from resolvers.validation.global_ids import global_id
from schema import schema

FOLDER = Path(GATEWAY)
KEY = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
IDS = {"user": str(KEY), "tasks": [str(KEY)], "category": str(KEY)}


def test_every_operation_of_the_race_is_valid() -> None:
    text = (FOLDER / "documents.graphql").read_text(encoding="utf-8")
    operations = re.split(r"^(?=(?:query|mutation) W\d)", text, flags=re.MULTILINE)[1:]

    assert [validate(schema._schema, parse(operation)) for operation in operations] == [[]] * 6


def test_requests_of_the_race_have_a_token_and_global_ids() -> None:
    adapter = runpy.run_path(str(FOLDER / "adapter.py"))

    variables, headers = adapter["request"]("W6", {"input": {"userId": str(KEY), "categoryId": str(KEY)}}, IDS)

    token = headers["Authorization"].removeprefix("Bearer ")
    viewer = Tokens(adapter["SECRET"].decode(), "siso-gateway").verify(token).viewer
    assert (viewer.id, viewer.roles, viewer.time_zone) == (KEY, frozenset({RoleName.USER}), "UTC")
    assert variables == {"input": {"categoryId": global_id("Category", KEY)}}


async def test_a_recorded_operation_is_replayed_without_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    text = OPERATIONS["50 tasks with their category"]
    results = []

    async def execute(context: Context) -> None:
        results.append(await execute_case(Case.parse("", text, lambda: context), BaseGraphQLExecutionContext))

    (create_context,) = await record_operations([lambda create: execute(create())])
    monkeypatch.delattr(Statement, "compile_for")  # so that no statement can reach a database
    await execute(create_context())

    first, second = results
    assert first.errors is None
    assert first.data is not None
    assert len(first.data["tasks"]["nodes"]) == 50
    assert second == first


def test_known_differences_of_dashboards_are_not_compared() -> None:
    theirs = {
        "dashboard": {
            "totals": {"total": 3, "completed": 1, "overdue": 1, "dueToday": 1},
            "byCategory": [{"id": "a", "name": "A", "color": "#000000", "total": 2, "completed": 1}],
            "upcoming": [],
        }
    }
    ours = {
        "dashboard": {
            "total": 3,
            "completed": 1,
            "overdue": 1,
            "dueToday": 2,
            "byCategory": [
                {"category": {"id": "a", "name": "A", "color": "#000000"}, "total": 2, "completed": 1},
                {"category": None, "total": 1, "completed": 0},
            ],
            "upcoming": [],
        }
    }

    assert race.normalize(ours) == race.normalize(theirs)


def test_ratios_compare_runs_of_the_same_round() -> None:
    runs = [
        {"workload": "W4", "peer": peer, "round": number, "rps": rps, "p50": 1.0, "p99": 2.0, "mb": 90.0, "cpu": 50.0}
        for peer, number, rps in [("gateway", 0, 100.0), ("p1", 1, 100.0), ("p1", 0, 50.0), ("gateway", 1, 300.0)]
    ]

    assert race.table(runs)[2:] == [
        "| W4 | gateway | 200 | 1.0 | 2.0 | 90 | 3333 |  |",
        "| W4 | p1 | 75 | 1.0 | 2.0 | 90 | 7500 | 2.50 × |",
    ]


def test_a_new_table_replaces_only_the_old_table(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- race -->\nold\n<!-- end of race -->\nafter\n", encoding="utf-8")

    replace_section(page, "race", "new")

    text = "before\n<!-- race -->\n\nnew\n\n<!-- end of race -->\nafter\n"
    assert page.read_text(encoding="utf-8") == text
