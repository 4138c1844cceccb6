"""The errors of a GraphQL request that is rejected before it has any data."""

from collections.abc import Sequence

from graphql import GraphQLError

_MAX_MESSAGE_LENGTH = 300


class RequestError(Exception):
    """A GraphQL request error: the response has errors and no ``data``.

    ``status`` is the HTTP status for media types that leave a choice (docs/decisions/0012-http.md).
    """

    def __init__(self, errors: Sequence[GraphQLError], status: int = 400) -> None:
        super().__init__(errors[0].message)
        self.errors = list(errors)
        self.status = status

    @classmethod
    def of(cls, message: str, code: str, status: int = 400) -> "RequestError":
        """A request error with one message and its ``extensions.code``."""
        return cls([GraphQLError(message, extensions={"code": code})], status)


def shorten(error: GraphQLError) -> GraphQLError:
    """Cuts a long message and drops the document from the error, so that caching the error keeps neither in memory.

    An error that a scalar raised is a validation error too, and gets that code.
    """
    if len(error.message) > _MAX_MESSAGE_LENGTH:
        half = _MAX_MESSAGE_LENGTH // 2
        error.message = f"{error.message[:half]} … {error.message[-half:]}"
    if error.original_error is not None and not error.extensions:
        error.extensions = {"code": "GRAPHQL_VALIDATION_FAILED"}
    error.nodes = error.source = error.positions = None
    return error
