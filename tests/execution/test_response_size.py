"""The size of a response while it is built, compared with the bytes of its JSON."""

from typing import Any

import orjson
import pytest
from graphql import GraphQLInt, GraphQLString
from hypothesis import given
from hypothesis import strategies as st

from gateway.execution import response_size
from gateway.execution.response_size import ObjectSize, ResponseSize
from repositories.engines.database import Database
from tests.api.client import Gateway
from tests.factories import make_tasks, make_user

LENGTH = 20
TEXTS = st.none() | st.text(
    alphabet=st.sampled_from('aä€😀"\\\n\x1f') | st.characters(exclude_categories=["Cs"]), max_size=LENGTH
)
ROWS = st.lists(
    st.fixed_dictionaries({"title": TEXTS, "note": TEXTS, "number": st.none() | st.integers(-(2**31), 2**31 - 1)}),
    max_size=8,
)
UNBOUNDED = ObjectSize(
    [("title", GraphQLString, LENGTH), ("note", GraphQLString, None), ("number", GraphQLInt, None)], []
)
KIND = ObjectSize([("title", GraphQLString, LENGTH), ("note", GraphQLString, LENGTH), ("number", GraphQLInt, None)], [])


@given(ROWS)
def test_bounds_are_not_below_the_size(rows: list[dict[str, Any]]) -> None:
    assert KIND.bound is not None
    size = len(orjson.dumps(rows)) - 2
    assert size <= KIND.measure(rows) <= KIND.estimate(rows) <= KIND.bound * len(rows)


@given(st.lists(st.tuples(st.sampled_from([KIND, UNBOUNDED]), ROWS), max_size=6), st.integers(0, 3000))
def test_the_limit_is_that_of_the_measured_size(
    groups: list[tuple[ObjectSize, list[dict[str, Any]]]], limit: int
) -> None:
    """However often it is checked, and although measuring is put off."""
    response, total = ResponseSize(limit), 0
    for kind, rows in groups:
        response.add_objects(kind, rows)
        total += kind.measure(rows)
        assert response.is_exceeded is (total > limit)


@pytest.mark.parametrize(("size", "estimated"), [(50, []), (300, [300])])
async def test_texts_of_small_responses_are_not_measured(
    database: Database, monkeypatch: pytest.MonkeyPatch, size: int, estimated: list[int]
) -> None:
    """300 texts of the greatest length would exceed the limit, and 50 would not."""
    user = await make_user(database)
    await make_tasks(database, user, size, description="x" * 100)
    calls = []
    estimate = ObjectSize.estimate

    def record(self: ObjectSize, results: Any) -> int:
        calls.append(len(results))
        return estimate(self, results)

    monkeypatch.setattr(ObjectSize, "estimate", record)
    monkeypatch.delattr(response_size, "value_size")
    query = "query($n: Int) { tasks(first: $n) { nodes { title description } } }"
    answer = await Gateway(database).client(user).data(query, n=size)
    assert len(answer["tasks"]["nodes"]) == size
    assert calls == estimated
