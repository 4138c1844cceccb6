"""Frames: the objects at one place of a plan, and their dicts."""

from collections.abc import Sequence
from typing import Any

from graphql.pyutils import Path

from gateway.execution.plan import Field, Selection

ABSENT: Any = object()
"""Stands for the dict of an object that graphql-core completes, or that is null."""


class Frame:
    """The objects at one place of a plan, and what is made of them; ``ABSENT`` where graphql-core makes it.

    ``spans`` says to whom they belong: the number of the parent, and how many objects it has in a list (None for the
    one object of a field that is no list).
    """

    __slots__ = ("_origin", "field", "made", "objects", "parent", "selection", "spans")

    def __init__(  # noqa: PLR0913, PLR0917 (its parts)
        self,
        selection: Selection,
        objects: Sequence[Any],
        made: list[Any],
        parent: "Frame | None" = None,
        field: Field | None = None,
        spans: Sequence[tuple[int, int | None]] = (),
        origin: list[tuple[int, int | None]] | None = None,
    ) -> None:
        self.selection = selection
        self.objects = objects
        self.made = made
        self.parent = parent
        self.field = field
        self.spans = spans
        self._origin = origin

    def origin(self, index: int) -> tuple[int, int | None]:
        """The number of the parent of an object, and its place in the parent's list."""
        if self._origin is None:
            self._origin = [
                (number, position)
                for number, count in self.spans
                for position in ((None,) if count is None else range(count))
            ]
        return self._origin[index]

    def object_path(self, index: int) -> Path | None:
        """The path of an object; None for the root."""
        if self.parent is None or self.field is None:
            return None
        number, position = self.origin(index)
        path = self.parent.path(number, self.field)
        return path if position is None else Path(path, position, None)

    def path(self, index: int, field: Field) -> Path:
        """The path of a field of an object."""
        return Path(self.object_path(index), field.key, self.selection.type.name)


def built(selection: Selection, objects: list[Any]) -> tuple[list[Any], bool]:
    """The dicts of objects, ``ABSENT`` for odd ones, and whether there is none of these."""
    try:
        return selection.build(objects), True
    except Exception:  # noqa: BLE001 (graphql-core meets it again and says what it is)
        return [_one(selection, value) for value in objects], False


def built_once(selection: Selection, objects: list[Any]) -> tuple[list[Any], bool]:
    """The same for objects that many may share, such as the category of tasks, and that have nothing but leaves."""
    distinct = {id(value): value for value in objects}
    if len(distinct) == len(objects):
        return built(selection, objects)
    made, is_whole = built(selection, list(distinct.values()))
    shared = dict(zip(distinct, made, strict=True))
    return [shared[id(value)] for value in objects], is_whole


def _one(selection: Selection, value: Any) -> Any:
    try:
        return selection.build((value,))[0]
    except Exception:  # noqa: BLE001 (as above)
        return ABSENT
