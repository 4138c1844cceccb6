"""The executor: a subclass of graphql-core's that executes planned operations breadth-first.

graphql-core completes a response value by value, depth first. Here all objects at one place of a plan (plan.py) are an
:class:`ObjectGroup`: generated code makes their result dicts, and each of their other fields is resolved for all of
them at once, an edge with one call of its dataloader. Only values that complete without an error are handled here.
graphql-core's own methods complete all others, one at a time (core_completion.py): an error, null for a non-null type,
an awaitable in a list, an unknown class.

graphql-core reports errors depth first within what it completes in one go. So errors are sorted at the end: by the
iteration of the event loop in which their value arrived, then by their position in the document. The executors differ
in two cases. When an error makes an object null, graphql-core cancels the other fields of the object. Here these fields
belong to all objects of the group, so they complete and their results are dropped. When all data becomes null,
everything is cancelled here as well. And a value that a dataloader has already loaded arrives here with the others of
its list. In graphql-core it arrives earlier, and so do the errors below it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Any

from graphql import GraphQLError, GraphQLObjectType, OperationType
from graphql.execution.collect_fields import DeferUsage, GroupedFieldSet
from graphql.pyutils import is_awaitable
from strawberry.execution import optimized_is_awaitable

from gateway.execution.core_completion import CoreCompletion, Pending
from gateway.execution.error_collection import DataIsNull, ErrorCollection, FailedValue
from gateway.execution.leaf_serializers import PLAIN_CLASSES, UnexpectedValue, register_if_plain
from gateway.execution.object_groups import INCOMPLETE, ObjectGroup, Spans, build_results, build_shared_results
from gateway.execution.plan import Field, Plan
from gateway.execution.planner import OperationPlans, Planner
from gateway.execution.response_size import ResponseSize, value_size
from repositories.core.errors import ResponseTooLarge
from repositories.permissions import Permission
from resolvers.request.context import Context
from schema.types.view import Resolution

_AWAITABLE_CHECKS = (is_awaitable, optimized_is_awaitable)
"""graphql-core's and Strawberry's. Another one may treat values as awaitable that are plain here."""

_CARRIED_OUT = "This was carried out, but the response would be larger"
_NOT_RUN = "This changed nothing, because the response would be larger"


class CompiledExecutor(CoreCompletion):
    """Executes planned operations breadth-first, and all others as graphql-core does."""

    native = False
    max_bytes: int | None = None
    """The most bytes of the response."""
    operation_plans: OperationPlans | None = None
    """The cached plans of the operation. Without them, each execution makes a plan."""
    planners: dict[tuple[int, bool], Planner] = {}  # noqa: RUF012 (one for each schema, for the life of the process)
    denied: Collection[Permission] = ()
    """Permissions that the viewer lacked when the operation began, and whose fields have variables of their own."""
    coerce_remaining: Callable[[], list[GraphQLError]]
    """Coerces these variables."""

    def plan(self, root_type: GraphQLObjectType) -> Plan | None:
        """The plan of the operation, or None if this execution uses something that plans do not cover."""
        if (
            self.middleware_manager is not None
            or self.abort_signal is not None
            or self.is_awaitable not in _AWAITABLE_CHECKS
            or not self.error_propagation
        ):
            return None
        key = (id(self.schema), self.native)
        planner = self.planners.get(key)
        if planner is None or planner.schema is not self.schema:
            planner = self.planners[key] = Planner(self.schema, native=self.native)
        self.converters = planner.converters
        plans = self.operation_plans or OperationPlans(self.operation, self.fragments)
        return planner.plan(plans, self.variable_values, root_type)

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,  # noqa: FBT001 (graphql-core's signature)
        new_defer_usages: Sequence[DeferUsage],
    ) -> Any:
        """The data of the operation: graphql-core's hook for the execution of root fields."""
        plan = self.plan(root_type)
        if plan is None:
            return super().execute_collected_root_fields(
                root_type, root_value, grouped_field_set, serially, new_defer_usages
            )
        return self.execute_plan(plan, root_value, serially=serially)

    def execute_plan(self, plan: Plan, root_value: Any, *, serially: bool) -> Any:
        """The data of a planned operation, or an awaitable of it; errors are collected."""
        self.error_collection = self.collected_errors = ErrorCollection()
        self.size = ResponseSize(self.max_bytes)
        fields = plan.root.fields
        root = ObjectGroup(plan.root, (root_value,), [dict.fromkeys(plan.root.by_key)])
        steps = iter([[field] for field in fields] if serially else [fields])
        for step in steps:
            pending = self._resolve_all(root, step)
            if self.is_stopped:
                self.abandon(pending)
                self._report_size(root, step, steps, serially=serially)
                break
            if pending:
                return self._continue(plan, root, pending, step, steps, serially=serially)
        return self._data(plan, root)

    async def _continue(  # noqa: PLR0913 (the state of execute_plan)
        self,
        plan: Plan,
        root: ObjectGroup,
        pending: list[Pending],
        step: Sequence[Field],
        steps: Iterator[Sequence[Field]],
        *,
        serially: bool,
    ) -> Any:
        try:
            await self.run_all(pending)
            for step in steps:  # noqa: PLR1704 (the current one)
                await self.run_all(self._resolve_all(root, step))
        except DataIsNull:
            pass
        self._report_size(root, step, steps, serially=serially)
        return self._data(plan, root)

    def _report_size(
        self, root: ObjectGroup, step: Sequence[Field], later_steps: Iterator[Sequence[Field]], *, serially: bool
    ) -> None:
        """Adds the errors of a response that is too large. All data of a query is null.

        The fields of a mutation before this one keep their payloads. Those after it do not run.
        """
        limit = self.max_bytes
        if not self.size.is_exceeded or limit is None:
            return
        if not serially:
            self.error_collection.add(GraphQLError("", original_error=ResponseTooLarge(limit)), None)
            return
        for field in step:
            self.handle_error(root, field, 0, ResponseTooLarge(limit, _CARRIED_OUT))
        for fields in later_steps:
            for field in fields:
                self.handle_error(root, field, 0, ResponseTooLarge(limit, _NOT_RUN))

    def _data(self, plan: Plan, root: ObjectGroup) -> Any:
        data: Any = root.results[0]
        return data if self.error_collection.is_empty else self.error_collection.finish(data, plan)

    # resolving

    def _resolve_all(self, group: ObjectGroup, fields: Sequence[Field]) -> list[Pending]:
        """Resolves fields of a group, and everything below them that needs no waiting."""
        pending: list[Pending] = []
        self.error_collection.fixed_iteration = self.error_collection.current_iteration()
        for field in fields:
            self._resolve(group, field, pending)
        self.error_collection.fixed_iteration = None
        return pending

    def _resolve(self, group: ObjectGroup, field: Field, pending: list[Pending]) -> None:
        """Resolves a field of all objects of a group."""
        indexes = [index for index, result in enumerate(group.results) if result is not INCOMPLETE]
        if not indexes:
            return
        getter = field.getter
        if getter is not None:
            values = [self._get(getter, group.objects[index]) for index in indexes]
            self._complete(group, field, indexes, values, pending)
        elif field.resolution is not None:
            pending.append(self._answer(group, field, indexes, field.resolution))
        else:
            self._call_resolver(group, field, indexes, pending)

    def _get(self, getter: Any, source: Any) -> Any:
        try:
            return getattr(source, getter) if isinstance(getter, str) else getter(source)
        except Exception as error:  # noqa: BLE001 (the value of the field)
            return FailedValue(error)

    def _call_resolver(self, group: ObjectGroup, field: Field, indexes: list[int], pending: list[Pending]) -> None:
        """Calls a resolver without a :class:`Resolution` for each object, as graphql-core does."""
        function = field.definition.resolve or self.field_resolver
        ready: list[tuple[int, Any]] = []
        waiting: list[tuple[int, Any]] = []
        for index in indexes:
            info = self.build_info(group, field, group.path(index, field))
            try:
                arguments = field.arguments.values(self.variable_values, hide_suggestions=self.hide_suggestions)
                value = function(group.objects[index], info, **arguments)
            except Exception as error:  # noqa: BLE001 (the value of the field)
                value = FailedValue(error)
            is_ready = value.__class__ in PLAIN_CLASSES or not self.is_awaitable(value)
            (ready if is_ready else waiting).append((index, value))
        if ready:
            self._complete(group, field, [index for index, _ in ready], [value for _, value in ready], pending)
        if waiting:
            pending.append(self._wait(group, field, waiting))

    async def _wait(self, group: ObjectGroup, field: Field, waiting: list[tuple[int, Awaitable[Any]]]) -> None:
        values, iterations = await self._await_all([awaitable for _, awaitable in waiting])
        await self.run_all(self._complete_arrived(group, field, [index for index, _ in waiting], values, iterations))

    async def _answer(self, group: ObjectGroup, field: Field, indexes: list[int], resolution: Resolution) -> None:
        """Resolves a field of all objects by its :class:`Resolution`."""
        if self.is_stopped:
            return
        rows = [group.objects[index] for index in indexes]
        context = self.context_value
        try:
            resolution.authorise(context)
            if resolution.requires in self.denied:
                self._coerce_remaining_variables()
            arguments = self._convert_arguments(group, field, resolution)
            root_context = context if group.parent is None else None
            if root_context is not None and (idempotency := getattr(context, "idempotency", None)) is not None:
                idempotency.field = field.key
            self.check_deadline(root_context)
            if resolution.resolve_many is None or len(rows) == 1:
                answers = [resolution.resolve_one(context, row, **arguments) for row in rows]
                values, iterations = await self._await_all(answers, root_context)
            else:
                answer = resolution.resolve_many(context, rows, **arguments)
                values = await (answer if self.deadline is None else self.await_until_deadline(answer))
                iterations = [self.error_collection.current_iteration()]
        except Exception as error:  # noqa: BLE001 (the value of the field)
            values = [FailedValue(error)] * len(indexes)
            iterations = [self.error_collection.current_iteration()]
        await self.run_all(self._complete_arrived(group, field, indexes, values, iterations))

    def _coerce_remaining_variables(self) -> None:
        """For a field that the viewer may use because an earlier field has signed in."""
        for error in self.coerce_remaining():
            raise error
        self.denied = ()

    def _convert_arguments(self, group: ObjectGroup, field: Field, resolution: Resolution) -> dict[str, Any]:
        strawberry_field, converters = field.strawberry_field, self.converters
        if strawberry_field is None or converters is None or not strawberry_field.arguments:
            return {}

        def build_info() -> Any:
            info = self.build_info(group, field, group.path(0, field))
            return converters.config.info_class(info, strawberry_field)

        return field.arguments.convert(
            converters.arguments(strawberry_field),
            resolution.convert,
            build_info,
            self.variable_values,
            hide_suggestions=self.hide_suggestions,
        )

    async def _await_all(
        self, awaitables: Sequence[Awaitable[Any]], context: Context | None = None
    ) -> tuple[list[Any], list[int]]:
        """The values, with :class:`FailedValue` in place of errors, and the iteration in which each arrived."""
        if len(awaitables) == 1:
            arrived = [await self._await(awaitables[0], context)]
        else:
            arrived = await asyncio.gather(*map(self._await, awaitables))
        return [value for value, _ in arrived], [iteration for _, iteration in arrived]

    async def _await(self, awaitable: Awaitable[Any], context: Context | None = None) -> tuple[Any, int]:
        if self.deadline is not None:
            awaitable = self.await_until_deadline(awaitable, context)
        try:
            return await awaitable, self.error_collection.current_iteration()
        except Exception as error:  # noqa: BLE001 (the value of the field)
            return FailedValue(error), self.error_collection.current_iteration()

    # completing

    def _complete_arrived(
        self, group: ObjectGroup, field: Field, indexes: list[int], values: Sequence[Any], iterations: Sequence[int]
    ) -> list[Pending]:
        """Completes awaited values. Their errors belong to the iteration in which each value arrived."""
        pending: list[Pending] = []
        distinct = sorted(set(iterations))
        for iteration in distinct:
            self.error_collection.fixed_iteration = iteration
            if len(distinct) == 1:
                self._complete(group, field, indexes, values, pending)
            else:
                chosen = [place for place, arrived in enumerate(iterations) if arrived == iteration]
                self._complete(group, field, [indexes[i] for i in chosen], [values[i] for i in chosen], pending)
        self.error_collection.fixed_iteration = None
        return pending

    def _complete(
        self, group: ObjectGroup, field: Field, indexes: Sequence[int], values: Sequence[Any], pending: list[Pending]
    ) -> None:
        """Completes the values of a field, one for each of the objects with these indexes."""
        if field.serialize is not None or field.is_nested_list:
            for index, value in zip(indexes, values, strict=True):
                self.size.add(value_size(value))
                if value.__class__ is field.unchanged_class:
                    group.results[index][field.key] = value
                else:
                    self._complete_leaf(group, field, index, value, pending)
            return
        results, key = group.results, field.key
        objects: list[Any] = []
        spans: list[tuple[int, int | None]] = []
        for index, value in zip(indexes, values, strict=True):
            kind = value.__class__
            if value is None and field.is_nullable:
                continue
            if field.is_list and (kind is list or kind is tuple):
                objects.extend(value)
                spans.append((index, len(value)))
                results[index][key] = []
            elif not field.is_list and value is not None and (kind in PLAIN_CLASSES or register_if_plain(kind)):
                objects.append(value)
                spans.append((index, None))
            else:
                self.complete_by_core(group, field, index, value, pending)
        if objects:
            complete_objects = self._complete_abstract if field.is_abstract else self._complete_objects
            complete_objects(group, field, objects, spans, pending)

    def _complete_leaf(self, group: ObjectGroup, field: Field, index: int, value: Any, pending: list[Pending]) -> None:
        try:
            if field.serialize is None:
                raise UnexpectedValue  # noqa: TRY301 (one way out of here)
            group.results[index][field.key] = field.serialize(value)
        except Exception:  # noqa: BLE001 (graphql-core meets it again and reports it)
            self.complete_by_core(group, field, index, value, pending)

    def _complete_objects(
        self, group: ObjectGroup, field: Field, objects: list[Any], spans: Spans, pending: list[Pending]
    ) -> None:
        """Builds the results of all objects of a field and puts them into place."""
        selection = field.selection(field.named_type)
        if selection is None:
            self._complete_unplanned(ObjectGroup(group.selection, objects, [], group, field, spans), pending)
            return
        build = build_results if selection.unbuilt_fields or field.is_list else build_shared_results
        results, is_complete = build(selection, objects)
        child = ObjectGroup(selection, objects, results, group, field, spans)
        data = results if is_complete else [None if result is INCOMPLETE else result for result in results]
        self.size.add_objects(selection.size, results if is_complete else [each for each in data if each is not None])
        if self.size.is_exceeded:
            return
        start, key, parents = 0, field.key, group.results
        for index, count in spans:
            if count is None:
                parents[index][key] = data[start]
                start += 1
            else:
                parents[index][key] = data if count == len(data) else data[start : start + count]
                start += count
        self._descend(child, pending, is_complete=is_complete)

    def _complete_unplanned(self, values: ObjectGroup, pending: list[Pending]) -> None:
        """Completes objects whose selection cannot be planned, one at a time."""
        self._make_lists(values)
        for index in range(len(values.objects)):
            self.complete_object_by_core(values, index, pending)

    def _make_lists(self, values: ObjectGroup) -> None:
        """Makes the lists into which objects are put one at a time."""
        group, field = values.parent, values.field
        assert group is not None and field is not None  # noqa: S101, PT018 (the values are those of a field)
        for index, count in values.spans:
            if count is not None:
                group.results[index][field.key] = [None] * count

    def _complete_abstract(
        self, group: ObjectGroup, field: Field, objects: list[Any], spans: Spans, pending: list[Pending]
    ) -> None:
        """Completes objects of several types, with one group for each type."""
        values = ObjectGroup(group.selection, objects, [], group, field, spans)
        indexes_by_type: dict[GraphQLObjectType, list[int]] = {}
        self._make_lists(values)
        for index in range(len(objects)):
            try:
                kind = self.runtime_type(values, index)
            except Exception:  # noqa: BLE001 (graphql-core meets it again and reports it)
                self.complete_object_by_core(values, index, pending)
            else:
                indexes_by_type.setdefault(kind, []).append(index)
        for kind, indexes in indexes_by_type.items():
            selection = field.selection(kind)
            if selection is None:
                for index in indexes:
                    self.complete_object_by_core(values, index, pending)
                continue
            chosen = [objects[index] for index in indexes]
            results, is_complete = build_results(selection, chosen)
            self.size.add_objects(selection.size, [result for result in results if result is not INCOMPLETE])
            origins = [values.origin(index) for index in indexes]
            for (parent_index, position), result in zip(origins, results, strict=True):
                data = None if result is INCOMPLETE else result
                if position is None:
                    group.results[parent_index][field.key] = data
                else:
                    group.results[parent_index][field.key][position] = data
            child = ObjectGroup(selection, chosen, results, group, field, origins=origins)
            self._descend(child, pending, is_complete=is_complete)

    def _descend(self, child: ObjectGroup, pending: list[Pending], *, is_complete: bool) -> None:
        """Completes the objects that could not be built, and resolves the fields that are not in the others' dicts."""
        if not is_complete:
            for index, result in enumerate(child.results):
                if result is INCOMPLETE:
                    self.complete_object_by_core(child, index, pending)
        for field in child.selection.unbuilt_fields:
            self._resolve(child, field, pending)


class NativeExecutor(CompiledExecutor):
    """Executes operations whose data orjson writes: datetimes stay as they are."""

    native = True

    def execute_operation(self, serially: bool | None = None) -> Any:  # noqa: FBT001 (graphql-core's signature)
        """The result. The plan already has what graphql-core does before it executes root fields."""
        kind = self.operation.operation
        root_type = self.schema.get_root_type(kind)
        plan = self.plan(root_type) if root_type is not None else None
        if plan is None:
            return super().execute_operation(serially)
        data = self.execute_plan(plan, self.root_value, serially=kind is OperationType.MUTATION)
        return self._response(data) if self.is_awaitable(data) else self.build_response(data)

    async def _response(self, data: Awaitable[Any]) -> Any:
        return self.build_response(await data)
