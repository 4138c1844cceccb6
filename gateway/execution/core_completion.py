"""Completes single values with graphql-core's own methods, so that data, errors and null propagation are its own."""

import asyncio
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from graphql import GraphQLError, GraphQLObjectType, GraphQLResolveInfo
from graphql.execution import Executor
from graphql.execution.executor import to_nodes
from graphql.pyutils import Path
from graphql.type.definition import GraphQLResolveInfoHelpers

from gateway.execution.error_collection import DataIsNull, ErrorCollection, FailedValue
from gateway.execution.leaf_serializers import PLAIN_CLASSES, UnexpectedValue, register_if_plain
from gateway.execution.object_groups import ObjectGroup
from gateway.execution.plan import Field
from gateway.execution.response_size import ResponseSize
from repositories.core.errors import Timeout
from resolvers.request.context import Context

T = TypeVar("T")
_ERROR_SIZE = 1000
"""Bytes that an error with its path and its exception counts as."""
Pending = Coroutine[Any, Any, None]
"""Waits for values and then completes them and everything below them."""


def _timeout(context: Context | None) -> Timeout:
    return Timeout() if context is None else Timeout("This took too long and was stopped. It changed nothing.")


class CoreCompletion(Executor[Any]):
    """The part of the executor that hands a value to graphql-core and puts its result or error into place.

    The methods take the object's group and its index in the group.
    """

    error_collection: ErrorCollection
    deadline: float | None = None
    """The time of the event loop at which fields are stopped that have no value yet."""
    size: ResponseSize
    """The size of the response so far."""

    @property
    def async_helpers(self) -> GraphQLResolveInfoHelpers:
        """What a resolver's ``info`` has to start work of its own."""
        return GraphQLResolveInfoHelpers(self.gather_async_work, self.track_async_work)

    @async_helpers.setter
    def async_helpers(self, _: GraphQLResolveInfoHelpers) -> None:
        """Does not keep the helpers that graphql-core makes.

        They refer to the executor, and only a garbage collection would free such a cycle, with all rows and results.
        """

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more needs to be done, because all data is null or too large."""
        return self.error_collection.is_data_null or self.size.is_exceeded

    def check_deadline(self, context: Context | None) -> None:
        """Raises Timeout after the deadline, so that no more work is begun."""
        if self.deadline is not None and asyncio.get_running_loop().time() >= self.deadline:
            raise _timeout(context)

    async def await_until_deadline(self, awaitable: Awaitable[T], context: Context | None = None) -> T:
        """The value of an awaitable, or Timeout at the deadline. ``context`` is that of a field with a transaction."""
        try:
            async with asyncio.timeout_at(self.deadline) as timeout:
                if context is not None:
                    context.timeout = timeout
                return await awaitable
        except TimeoutError as error:
            if not timeout.expired():
                raise
            raise _timeout(context) from error

    def build_info(self, group: ObjectGroup, field: Field, path: Path) -> GraphQLResolveInfo[Any]:
        return self.build_resolve_info(field.definition, to_nodes(field.details), group.selection.type, path)

    def runtime_type(self, values: ObjectGroup, index: int) -> GraphQLObjectType:
        """The object type of a value of an abstract type; ``values`` are those of one field."""
        value, group, field = values.objects[index], values.parent, values.field
        assert group is not None and field is not None  # noqa: S101, PT018 (the root's type is not abstract)
        if value is None or not (value.__class__ in PLAIN_CLASSES or register_if_plain(value.__class__)):
            raise UnexpectedValue
        parent_index, _ = values.origin(index)
        info = self.build_info(group, field, group.path(parent_index, field))
        name: Any = (field.named_type.resolve_type or self.type_resolver)(value, info, field.named_type)
        return self.ensure_valid_runtime_type(name, field.named_type, field.details, info, value)

    def complete_object_by_core(self, child: ObjectGroup, index: int, pending: list[Pending]) -> None:
        """Completes an object, or the value that stands in its place."""
        group, field = child.parent, child.field
        assert group is not None and field is not None  # noqa: S101, PT018 (the root object is always built)
        parent_index, position = child.origin(index)
        value = child.objects[index]
        if position is None:
            self.complete_by_core(group, field, parent_index, value, pending)
        elif value is not None or not field.is_item_nullable:
            self._complete_item_by_core(group, field, parent_index, position, value, pending)

    def complete_by_core(
        self, group: ObjectGroup, field: Field, index: int, value: Any, pending: list[Pending]
    ) -> None:
        """Completes the value of an object's field."""
        path = group.path(index, field)
        if value.__class__ is FailedValue:
            self.handle_error(group, field, index, value.error)
            return
        info = self.build_info(group, field, path)
        complete = self.complete_awaitable_value if self.is_awaitable(value) else self.complete_value
        try:
            completed = complete(field.type, field.details, info, path, value, None)
        except Exception as error:  # noqa: BLE001 (an error of the field)
            self.handle_error(group, field, index, error)
            return
        if self.is_awaitable(completed):
            pending.append(self._set_later(group, field, index, completed, group.results[index], field.key))
        else:
            group.results[index][field.key] = completed

    def _complete_item_by_core(  # noqa: PLR0913, PLR0917 (where the item is)
        self, group: ObjectGroup, field: Field, index: int, position: int, item: Any, pending: list[Pending]
    ) -> None:
        path = group.path(index, field)
        place = (field.item_type, field.details, self.build_info(group, field, path), Path(path, position, None), None)
        items: list[Any] = []
        try:
            if self.is_awaitable(item):
                items.append(self.complete_awaitable_list_item_value(item, *place))
            else:
                self.complete_list_item_value(item, items, *place)
        except Exception as error:  # noqa: BLE001 (an error of the field)
            self.handle_error(group, field, index, error)
            return
        results = group.results[index][field.key]
        if self.is_awaitable(items[0]):
            pending.append(self._set_later(group, field, index, items[0], results, position))
        else:
            results[position] = items[0]

    async def _set_later(  # noqa: PLR0913, PLR0917 (where the value belongs)
        self, group: ObjectGroup, field: Field, index: int, completed: Awaitable[Any], container: Any, key: Any
    ) -> None:
        try:
            container[key] = await (completed if self.deadline is None else self.await_until_deadline(completed))
        except Exception as error:  # noqa: BLE001 (an error of the field)
            self.handle_error(group, field, index, error)
        if self.is_stopped:
            raise DataIsNull

    def handle_error(self, group: ObjectGroup, field: Field, index: int, error: Exception) -> None:
        """Collects an error of an object's field; the field is null then, or the closest nullable value above it."""
        self.size.add(_ERROR_SIZE)
        try:
            self.handle_field_error(error, field.type, field.details, group.path(index, field))
        except GraphQLError as located:
            parent, parent_field = group.parent, group.field
            if parent is None or parent_field is None:
                self.error_collection.add(located, None)
                return
            if parent_field.is_list and parent_field.is_item_nullable:
                self.error_collection.add(located, group.object_path(index))
            else:
                self.handle_error(parent, parent_field, group.origin(index)[0], located)

    def abandon(self, pending: list[Pending]) -> None:
        """Runs coroutines to their end in the background and drops their results, as graphql-core does."""
        if pending:
            self.settle_in_background(pending)  # type: ignore[arg-type]

    async def run_all(self, pending: list[Pending]) -> None:
        """Runs coroutines concurrently, a single one without a task; raises DataIsNull if all data is null already."""
        if self.is_stopped:
            self.abandon(pending)
            raise DataIsNull
        if len(pending) == 1:
            await pending[0]
        elif pending:
            tasks = [asyncio.ensure_future(coroutine) for coroutine in pending]
            try:
                await asyncio.gather(*tasks)
            except BaseException:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                tasks.clear()  # their exceptions refer to this frame, and to rows, which garbage collection frees late
                raise
