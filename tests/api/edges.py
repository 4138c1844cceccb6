"""The edges of derived fields, for tests that replace their batches."""

from typing import Any

from resolvers.loading.edges import Edge
from schema import schema


def edge_of(type_name: str, field_name: str) -> Edge[Any]:
    """The edge of a field, by the name of the GraphQL type and the Python name of the field."""
    definition: Any = schema.get_type_by_name(type_name)
    field = next(field for field in definition.fields if field.python_name == field_name)
    edge: Edge[Any] = field.base_resolver.wrapped_func.resolution.resolve_one.__self__
    return edge
