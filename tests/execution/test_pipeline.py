"""The pipeline: documents are kept, operations are chosen, and what has no data is a request error."""

from typing import Any

import pytest
from graphql import get_introspection_query

from gateway.execution import documents
from gateway.execution.processor import OperationProcessor
from gateway.execution.request_errors import RequestError
from repositories.core.viewer import ANONYMOUS
from repositories.engines.database import Database
from resolvers.request.context import Context
from schema import schema


@pytest.fixture
def pipeline() -> OperationProcessor:
    """The pipeline on the real schema."""
    return OperationProcessor(schema)


def refused(pipeline: OperationProcessor, text: str, name: str | None = None) -> tuple[int, list[str]]:
    with pytest.raises(RequestError) as caught:
        pipeline.prepare(text, name, ANONYMOUS)
    return caught.value.status, [error.message for error in caught.value.errors]


def test_a_document_is_read_once(pipeline: OperationProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pipeline.prepare("{ viewer { id } }", None, ANONYMOUS)
    unknown = refused(pipeline, "{ nonsense }")
    monkeypatch.delattr(documents, "parse")
    assert pipeline.prepare("{ viewer { id } }", None, ANONYMOUS).document is first.document
    assert (
        refused(pipeline, "{ nonsense }")
        == unknown
        == (
            400,
            ["Cannot query field 'nonsense' on type 'Query'. Did you mean 'nodes'?"],
        )
    )


def test_the_least_recently_used_document_goes(pipeline: OperationProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = (f"{{ viewer {{ id }} }} # {number}" for number in range(3))
    monkeypatch.setattr(documents, "_CACHE_SIZE", len(one) + len(two))
    kept = {text: pipeline.prepare(text, None, ANONYMOUS).document for text in (one, two)}
    assert pipeline.prepare(one, None, ANONYMOUS).document is kept[one]
    pipeline.prepare(three, None, ANONYMOUS)
    assert pipeline.prepare(one, None, ANONYMOUS).document is kept[one]
    assert pipeline.prepare(two, None, ANONYMOUS).document is not kept[two]


def test_a_long_document_is_not_kept(pipeline: OperationProcessor) -> None:
    text = "{ viewer { id } }" + " " * 30_000
    kept = pipeline.prepare(text, None, ANONYMOUS).document
    assert pipeline.prepare(text, None, ANONYMOUS).document is not kept


def test_the_operation_is_chosen_by_its_name(pipeline: OperationProcessor) -> None:
    text = "query A { viewer { id } } mutation B { signOut(input: {}) { userErrors { code } } }"
    assert pipeline.prepare(text, "A", ANONYMOUS).kind == "query"
    assert pipeline.prepare(text, "B", ANONYMOUS).kind == "mutation"
    message = "The document has several operations: name one of them in `operationName`."
    assert refused(pipeline, text) == (400, [message])
    assert refused(pipeline, text, "C") == (400, ["The document has no operation named 'C'."])
    assert refused(pipeline, "{ viewer { id } }", "A") == (400, ["The document has no operation named 'A'."])
    assert refused(pipeline, "subscription { __typename }") == (
        400,
        ["Anonymous Subscription must not select an introspection top level field."],
    )


async def test_what_runs_has_data_and_what_does_not_is_refused(
    pipeline: OperationProcessor, database: Database
) -> None:
    async def run(text: str, **variables: Any) -> Any:
        prepared = pipeline.prepare(text, None, ANONYMOUS, variables)
        result = await pipeline.run(prepared, Context(database, ANONYMOUS, ()))
        return result.data

    assert await run("query($type: String!) { __type(name: $type) { name } }", type="Task") == {
        "__type": {"name": "Task"}
    }
    assert len((await run(get_introspection_query()))["__schema"]["types"]) > 100
    with pytest.raises(RequestError) as caught:
        await run("query($type: String!) { __type(name: $type) { name } }")
    assert caught.value.status == 400
    message = "Variable '$type' has invalid value: Expected a value of non-null type 'String!' to be provided."
    assert [error.message for error in caught.value.errors] == [message]
    assert database.pool_state().used == 0
