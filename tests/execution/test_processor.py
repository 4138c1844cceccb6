"""The operation processor: cached documents, the choice of an operation, and request errors."""

from typing import Any

import pytest
from graphql import get_introspection_query

from gateway.execution import documents
from gateway.execution.processor import OperationProcessor
from gateway.execution.request_errors import RequestError
from repositories.core.byte_budget import CLIENT_CACHES
from repositories.core.viewer import ANONYMOUS
from repositories.engines.database import Database
from resolvers.request.context import Context
from schema import schema
from tests.databases import ON_SQLITE


@pytest.fixture
def processor() -> OperationProcessor:
    return OperationProcessor(schema)


def request_error(processor: OperationProcessor, text: str, name: str | None = None) -> tuple[int, list[str]]:
    with pytest.raises(RequestError) as caught:
        processor.prepare(processor.parse(text, ANONYMOUS), name, ANONYMOUS)
    return caught.value.status, [error.message for error in caught.value.errors]


def test_a_document_is_parsed_once(processor: OperationProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    first = processor.parse("{ viewer { id } }", ANONYMOUS)
    unknown = request_error(processor, "{ nonsense }")
    monkeypatch.delattr(documents, "parse")
    assert processor.parse("{ viewer { id } }", ANONYMOUS) is first
    assert (
        request_error(processor, "{ nonsense }")
        == unknown
        == (
            400,
            ["Cannot query field 'nonsense' on type 'Query'. Did you mean 'nodes'?"],
        )
    )


def test_the_least_recently_used_document_is_dropped(processor: OperationProcessor) -> None:
    one, two, three = (f"{{ viewer {{ id }} }} # {number}" for number in range(3))
    cached = {text: processor.parse(text, ANONYMOUS) for text in (one, two)}
    assert processor.parse(one, ANONYMOUS) is cached[one]
    documents = [entry for entry in CLIENT_CACHES.order if entry.key in {(one, False), (two, False)}]
    CLIENT_CACHES.remove(documents[0])
    processor.parse(three, ANONYMOUS)
    assert processor.parse(one, ANONYMOUS) is cached[one]
    assert processor.parse(two, ANONYMOUS) is not cached[two]


def test_the_operation_is_chosen_by_its_name(processor: OperationProcessor) -> None:
    text = "query A { viewer { id } } mutation B { signOut(input: {}) { userErrors { code } } }"
    assert processor.prepare(processor.parse(text, ANONYMOUS), "A", ANONYMOUS).kind == "query"
    assert processor.prepare(processor.parse(text, ANONYMOUS), "B", ANONYMOUS).kind == "mutation"
    message = "The document has several operations: name one of them in `operationName`."
    assert request_error(processor, text) == (400, [message])
    assert request_error(processor, text, "C") == (400, ["The document has no operation named 'C'."])
    assert request_error(processor, "{ viewer { id } }", "A") == (400, ["The document has no operation named 'A'."])
    assert request_error(processor, "subscription { __typename }") == (
        400,
        ["Anonymous Subscription must not select an introspection top level field."],
    )


@ON_SQLITE
async def test_an_operation_has_data_or_is_rejected(processor: OperationProcessor, database: Database) -> None:
    async def run(text: str, **variables: Any) -> Any:
        prepared = processor.prepare(processor.parse(text, ANONYMOUS), None, ANONYMOUS, variables)
        result = await processor.run(prepared, Context(database, ANONYMOUS, ()))
        return result.data

    assert await run("query($type: String!) { __type(name: $type) { name } }", type="Task") == {
        "__type": {"name": "Task"}
    }
    assert len((await run(get_introspection_query()))["__schema"]["types"]) > 100
    with pytest.raises(RequestError) as caught:
        await run("query($type: String!) { __type(name: $type) { name } }")
    assert caught.value.status == 400
    message = "Variable '$type' has invalid value: Expected a value of type 'String!' to be provided."
    assert [error.message for error in caught.value.errors] == [message]
    assert database.pool_state().used == 0
