"""What a GraphQL request is refused with before it has any data."""

from collections.abc import Sequence

from graphql import GraphQLError

_LONGEST_MESSAGE = 300


class RequestError(Exception):
    """A GraphQL request error: the answer has errors and no ``data``.

    ``status`` is what HTTP answers where the media type leaves a choice (docs/decisions/0012-http.md).
    """

    def __init__(self, errors: Sequence[GraphQLError], status: int = 400) -> None:
        super().__init__(errors[0].message)
        self.errors = list(errors)
        self.status = status

    @classmethod
    def of(cls, message: str, code: str, status: int = 400) -> "RequestError":
        """With one error that has a code of its own."""
        return cls([GraphQLError(message, extensions={"code": code})], status)


def shortened(error: GraphQLError) -> GraphQLError:
    """The error without the document it came from, which may be kept for long, and without echoing long names.

    What a scalar raised about a value is the client's mistake too.
    """
    if len(error.message) > _LONGEST_MESSAGE:
        half = _LONGEST_MESSAGE // 2
        error.message = f"{error.message[:half]} … {error.message[-half:]}"
    if error.original_error is not None and not error.extensions:
        error.extensions = {"code": "GRAPHQL_VALIDATION_FAILED"}
    error.nodes = error.source = error.positions = None
    return error
