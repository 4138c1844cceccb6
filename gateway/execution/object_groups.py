"""Groups of objects that are executed together: all objects at one place of a plan, with their results."""

from collections.abc import Sequence
from typing import Any

from graphql.pyutils import Path

from gateway.execution.plan import Field, Selection

Spans = Sequence[tuple[int, int | None]]
"""Which parent each of the objects belongs to, in order: the parent's index, and how many objects are in its list.

The count is None for the one object of a field that is no list.
"""

INCOMPLETE: Any = object()
"""Stands for the result of an object that is null or that graphql-core completes."""


class ObjectGroup:
    """All objects at one place of a plan, and the dict of results of each, or ``INCOMPLETE``."""

    __slots__ = ("_origins", "field", "objects", "parent", "results", "selection", "spans")

    def __init__(  # noqa: PLR0913, PLR0917 (its attributes)
        self,
        selection: Selection,
        objects: Sequence[Any],
        results: list[Any],
        parent: "ObjectGroup | None" = None,
        field: Field | None = None,
        spans: Spans = (),
        origins: list[tuple[int, int | None]] | None = None,
    ) -> None:
        self.selection = selection
        self.objects = objects
        self.results = results
        self.parent = parent
        self.field = field
        self.spans = spans
        self._origins = origins

    def origin(self, index: int) -> tuple[int, int | None]:
        """The index of an object's parent object, and the object's position in the parent's list."""
        if self._origins is None:
            self._origins = [
                (parent_index, position)
                for parent_index, count in self.spans
                for position in ((None,) if count is None else range(count))
            ]
        return self._origins[index]

    def object_path(self, index: int) -> Path | None:
        """The path of an object in the response, None for the root."""
        if self.parent is None or self.field is None:
            return None
        parent_index, position = self.origin(index)
        path = self.parent.path(parent_index, self.field)
        return path if position is None else Path(path, position, None)

    def path(self, index: int, field: Field) -> Path:
        return Path(self.object_path(index), field.key, self.selection.type.name)


def build_results(selection: Selection, objects: list[Any]) -> tuple[list[Any], bool]:
    """The results of all objects, ``INCOMPLETE`` for those that cannot be built, and whether all were built."""
    try:
        return selection.build(objects), True
    except Exception:  # noqa: BLE001 (graphql-core meets it again and reports it)
        return [_build_result(selection, value) for value in objects], False


def build_shared_results(selection: Selection, objects: list[Any]) -> tuple[list[Any], bool]:
    """Like build_results, but equal objects share one dict.

    For objects that many parents share, such as the author of notes, and whose fields are all in their dict.
    """
    distinct = {id(value): value for value in objects}
    if len(distinct) == len(objects):
        return build_results(selection, objects)
    results, is_complete = build_results(selection, list(distinct.values()))
    shared = dict(zip(distinct, results, strict=True))
    return [shared[id(value)] for value in objects], is_complete


def _build_result(selection: Selection, value: Any) -> Any:
    try:
        return selection.build((value,))[0]
    except Exception:  # noqa: BLE001 (as above)
        return INCOMPLETE
