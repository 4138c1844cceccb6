"""The executor: a subclass of graphql-core's that runs planned operations breadth-first.

graphql-core completes a response value by value, depth first. Here all objects at one place of a plan (plan.py) are
a :class:`Frame`: generated code makes their dicts, and each of their other fields is resolved for all of them at once,
an edge with one call of its dataloader. Only what goes well is done here. Whatever is odd (an error, null where a value
must be, something to await in a list, a class that was never seen) is completed by graphql-core's own methods, one
value at a time, so that data, errors and null propagation are its.

graphql-core reports errors depth first within what it completes in one go, so errors are put into that order at the
end: by the moment at which their value arrived, then by their place in the document. In one thing the two differ: when
an error makes an object null, graphql-core cancels what its other fields wait for, while here that is only not shown,
for other objects of the frame wait for it too. When it makes all data null, everything is cancelled here as well.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Iterator, Sequence
from typing import Any

from graphql import GraphQLError, GraphQLObjectType, GraphQLResolveInfo, OperationType
from graphql.execution import Executor
from graphql.execution.collect_fields import DeferUsage, GroupedFieldSet
from graphql.execution.executor import to_nodes
from graphql.pyutils import Path, is_awaitable
from strawberry.execution import optimized_is_awaitable

from gateway.execution.failures import AllNull, Failed, Failures
from gateway.execution.frames import ABSENT, Frame, built, built_once
from gateway.execution.leaves import PLAIN, Odd, is_plain
from gateway.execution.plan import Field, Plan, Planner
from schema.types.view import Resolution

Job = Coroutine[Any, Any, None]

_PREDICATES = (is_awaitable, optimized_is_awaitable)
"""graphql-core's and Strawberry's; with another one, values may be awaited of which nothing is known here."""


class CompiledExecutor(Executor[Any]):
    """Runs planned operations breadth-first, and all others as graphql-core does."""

    native = False
    planners: dict[tuple[int, bool], Planner] = {}  # noqa: RUF012 (one for each schema, for the life of the process)

    def plan(self, root_type: GraphQLObjectType) -> Plan | None:
        """The plan of the operation, unless this execution wants something that plans do not know."""
        if (
            self.middleware_manager is not None
            or self.abort_signal is not None
            or self.is_awaitable not in _PREDICATES
            or not self.error_propagation
        ):
            return None
        name = (id(self.schema), self.native)
        planner = self.planners.get(name)
        if planner is None or planner.schema is not self.schema:
            planner = self.planners[name] = Planner(self.schema, native=self.native)
        self.converters = planner.converters
        return planner.plan(self.operation, self.fragments, self.variable_values, root_type)

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,  # noqa: FBT001 (as above)
        new_defer_usages: Sequence[DeferUsage],
    ) -> Any:
        """The data of the operation: graphql-core's hook into how root fields are executed."""
        plan = self.plan(root_type)
        if plan is None:
            return super().execute_collected_root_fields(
                root_type, root_value, grouped_field_set, serially, new_defer_usages
            )
        return self.run_plan(plan, root_value, serially=serially)

    def run_plan(self, plan: Plan, root_value: Any, *, serially: bool) -> Any:
        """The data of a planned operation, or what to await for it; its errors are collected."""
        self.failures = self.collected_errors = Failures()
        fields = plan.root.fields
        root = Frame(plan.root, (root_value,), [dict.fromkeys(plan.root.by_key)])
        groups = iter([[field] for field in fields] if serially else [fields])
        for group in groups:
            jobs = self._descend(root, group)
            if self.failures.is_all_null:
                self._abandon(jobs)
                break
            if jobs:
                return self._run_on(plan, root, jobs, groups)
        return self._settled(plan, root)

    async def _run_on(self, plan: Plan, root: Frame, jobs: list[Job], groups: Iterator[Sequence[Field]]) -> Any:
        try:
            await self._all(jobs)
            for group in groups:
                await self._all(self._descend(root, group))
        except AllNull:
            pass
        return self._settled(plan, root)

    def _settled(self, plan: Plan, root: Frame) -> Any:
        data: Any = root.made[0]
        return data if self.failures.is_empty else self.failures.settle(data, plan)

    def _descend(self, frame: Frame, fields: Sequence[Field]) -> list[Job]:
        """Starts fields of a frame, and what is below them as far as nothing must be waited for; the rest are jobs."""
        jobs: list[Job] = []
        self.failures.at = self.failures.now()
        for field in fields:
            self._start(frame, field, jobs)
        self.failures.at = None
        return jobs

    def _arrived(
        self, frame: Frame, field: Field, numbers: list[int], outcomes: Sequence[Any], moments: Sequence[int]
    ) -> list[Job]:
        """Completes values that were waited for, and starts what is below them; each at the moment it came."""
        jobs: list[Job] = []
        came = sorted(set(moments))
        for moment in came:
            self.failures.at = moment
            if len(came) == 1:
                self._complete(frame, field, numbers, outcomes, jobs)
            else:
                chosen = [place for place, at in enumerate(moments) if at == moment]
                self._complete(frame, field, [numbers[i] for i in chosen], [outcomes[i] for i in chosen], jobs)
        self.failures.at = None
        return jobs

    def _start(self, frame: Frame, field: Field, jobs: list[Job]) -> None:
        """Resolves a field of all objects of a frame."""
        numbers = [number for number, made in enumerate(frame.made) if made is not ABSENT]
        if not numbers:
            return
        getter = field.getter
        if getter is not None:
            outcomes = [self._get(getter, frame.objects[number]) for number in numbers]
            self._complete(frame, field, numbers, outcomes, jobs)
        elif field.resolution is not None:
            jobs.append(self._answer(frame, field, numbers, field.resolution))
        else:
            self._resolve(frame, field, numbers, jobs)

    def _get(self, getter: Any, source: Any) -> Any:
        try:
            return getattr(source, getter) if isinstance(getter, str) else getter(source)
        except Exception as error:  # noqa: BLE001 (an outcome like any other)
            return Failed(error)

    def _resolve(self, frame: Frame, field: Field, numbers: list[int], jobs: list[Job]) -> None:
        """Calls a resolver of which nothing is known, as graphql-core does."""
        function = field.definition.resolve or self.field_resolver
        ready: list[tuple[int, Any]] = []
        waiting: list[tuple[int, Any]] = []
        for number in numbers:
            info = self._info(frame, field, frame.path(number, field))
            try:
                outcome = function(frame.objects[number], info, **self._arguments(field))
            except Exception as error:  # noqa: BLE001 (an outcome like any other)
                outcome = Failed(error)
            is_ready = outcome.__class__ in PLAIN or not self.is_awaitable(outcome)
            (ready if is_ready else waiting).append((number, outcome))
        if ready:
            self._complete(frame, field, [number for number, _ in ready], [outcome for _, outcome in ready], jobs)
        if waiting:
            jobs.append(self._wait(frame, field, waiting))

    async def _wait(self, frame: Frame, field: Field, waiting: list[tuple[int, Awaitable[Any]]]) -> None:
        outcomes, moments = await self._outcomes([awaitable for _, awaitable in waiting])
        await self._all(self._arrived(frame, field, [number for number, _ in waiting], outcomes, moments))

    async def _answer(self, frame: Frame, field: Field, numbers: list[int], resolution: Resolution) -> None:
        """Answers a field whose resolution is spelled out for all objects at once."""
        if self.failures.is_all_null:
            return
        sources = [frame.objects[number] for number in numbers]
        context = self.context_value
        try:
            resolution.authorise(context)
            arguments = self._prepared(frame, field, resolution)
            if resolution.many is None or len(sources) == 1:
                answers = [resolution.answer(context, row, **arguments) for row in sources]
                outcomes, moments = await self._outcomes(answers)
            else:
                outcomes = await resolution.many(context, sources, **arguments)
                moments = [self.failures.now()]
        except Exception as error:  # noqa: BLE001 (an outcome like any other)
            outcomes, moments = [Failed(error)] * len(numbers), [self.failures.now()]
        await self._all(self._arrived(frame, field, numbers, outcomes, moments))

    async def _outcomes(self, awaitables: Sequence[Awaitable[Any]]) -> tuple[list[Any], list[int]]:
        """What is awaited, exceptions in their place, and when each came."""
        if len(awaitables) == 1:
            outcomes = [await self._outcome(awaitables[0])]
        else:
            outcomes = await asyncio.gather(*map(self._outcome, awaitables))
        return [outcome for outcome, _ in outcomes], [moment for _, moment in outcomes]

    async def _outcome(self, awaitable: Awaitable[Any]) -> tuple[Any, int]:
        try:
            return await awaitable, self.failures.now()
        except Exception as error:  # noqa: BLE001 (an outcome like any other)
            return Failed(error), self.failures.now()

    def _info(self, frame: Frame, field: Field, path: Path) -> GraphQLResolveInfo[Any]:
        return self.build_resolve_info(field.definition, to_nodes(field.details), frame.selection.type, path)

    def _arguments(self, field: Field) -> dict[str, Any]:
        return field.arguments.values(self.variable_values, hide_suggestions=self.hide_suggestions)

    def _prepared(self, frame: Frame, field: Field, resolution: Resolution) -> dict[str, Any]:
        """The arguments as the resolution takes them."""
        published, converters = field.published, self.converters
        if published is None or converters is None or not published.arguments:
            return {}

        def info() -> Any:
            raw = self._info(frame, field, frame.path(0, field))
            return converters.config.info_class(raw, published)

        return field.arguments.convert(
            converters.arguments(published),
            resolution.converted,
            info,
            self.variable_values,
            hide_suggestions=self.hide_suggestions,
        )

    def _complete(
        self, frame: Frame, field: Field, numbers: Sequence[int], outcomes: Sequence[Any], jobs: list[Job]
    ) -> None:
        """Completes the values of a field, one for each of the objects that are named by number."""
        if field.coerce is not None or field.is_deep:
            for number, outcome in zip(numbers, outcomes, strict=True):
                if outcome.__class__ is field.as_it_is:
                    frame.made[number][field.key] = outcome
                else:
                    self._complete_leaf(frame, field, number, outcome, jobs)
            return
        made, key = frame.made, field.key
        objects: list[Any] = []
        spans: list[tuple[int, int | None]] = []
        for number, outcome in zip(numbers, outcomes, strict=True):
            kind = outcome.__class__
            if outcome is None and field.is_nullable:
                continue
            if field.is_list and (kind is list or kind is tuple):
                objects.extend(outcome)
                spans.append((number, len(outcome)))
                made[number][key] = []
            elif not field.is_list and outcome is not None and (kind in PLAIN or is_plain(kind)):
                objects.append(outcome)
                spans.append((number, None))
            else:
                self._by_core(frame, field, number, outcome, jobs)
        if objects:
            below = self._below_abstract if field.is_abstract else self._below
            below(frame, field, objects, spans, jobs)

    def _complete_leaf(self, frame: Frame, field: Field, number: int, outcome: Any, jobs: list[Job]) -> None:
        try:
            if field.coerce is None:
                raise Odd  # noqa: TRY301 (one way out of here)
            frame.made[number][field.key] = field.coerce(outcome)
        except Exception:  # noqa: BLE001 (graphql-core meets it again and says what it is)
            self._by_core(frame, field, number, outcome, jobs)

    def _below(
        self, frame: Frame, field: Field, objects: list[Any], spans: list[tuple[int, int | None]], jobs: list[Job]
    ) -> None:
        """Makes the dicts of all objects and puts them into place."""
        selection = field.selection(field.named)
        build = built if selection.rest or field.is_list else built_once
        made, is_whole = build(selection, objects)
        child = Frame(selection, objects, made, frame, field, spans)
        shown = made if is_whole else [None if value is ABSENT else value for value in made]
        start, key, owners = 0, field.key, frame.made
        for number, count in spans:
            if count is None:
                owners[number][key] = shown[start]
                start += 1
            else:
                owners[number][key] = shown if count == len(shown) else shown[start : start + count]
                start += count
        self._finish(child, jobs, is_whole=is_whole)

    def _below_abstract(
        self, frame: Frame, field: Field, objects: list[Any], spans: list[tuple[int, int | None]], jobs: list[Job]
    ) -> None:
        """The same for values of several types."""
        every = Frame(frame.selection, objects, [], frame, field, spans)
        groups: dict[GraphQLObjectType, list[int]] = {}
        for number, count in spans:
            if count is not None:
                frame.made[number][field.key] = [None] * count
        for index, value in enumerate(objects):
            try:
                kind = self._runtime_type(every, field, index, value)
            except Exception:  # noqa: BLE001 (graphql-core meets it again and says what it is)
                self._odd_object(every, index, jobs)
            else:
                groups.setdefault(kind, []).append(index)
        for kind, indexes in groups.items():
            selection = field.selection(kind)
            chosen = [objects[index] for index in indexes]
            made, is_whole = built(selection, chosen)
            origin = [every.origin(index) for index in indexes]
            for (number, position), value in zip(origin, made, strict=True):
                shown = None if value is ABSENT else value
                if position is None:
                    frame.made[number][field.key] = shown
                else:
                    frame.made[number][field.key][position] = shown
            self._finish(Frame(selection, chosen, made, frame, field, origin=origin), jobs, is_whole=is_whole)

    def _runtime_type(self, every: Frame, field: Field, index: int, value: Any) -> GraphQLObjectType:
        if value is None or not (value.__class__ in PLAIN or is_plain(value.__class__)):
            raise Odd
        number, _ = every.origin(index)
        assert every.parent is not None  # noqa: S101 (made for a field of it)
        info = self._info(every.parent, field, every.parent.path(number, field))
        name: Any = (field.named.resolve_type or self.type_resolver)(value, info, field.named)
        return self.ensure_valid_runtime_type(name, field.named, field.details, info, value)

    def _finish(self, child: Frame, jobs: list[Job], *, is_whole: bool) -> None:
        if not is_whole:
            for index, value in enumerate(child.made):
                if value is ABSENT:
                    self._odd_object(child, index, jobs)
        for field in child.selection.rest:
            self._start(child, field, jobs)

    def _odd_object(self, child: Frame, index: int, jobs: list[Job]) -> None:
        """Hands an object, or what stands in its place, to graphql-core."""
        frame, field = child.parent, child.field
        assert frame is not None and field is not None  # noqa: S101, PT018 (the root is never odd)
        number, position = child.origin(index)
        value = child.objects[index]
        if position is None:
            self._by_core(frame, field, number, value, jobs)
        elif value is not None or not field.is_item_nullable:
            self._item_by_core(frame, field, number, position, jobs, value)

    def _by_core(self, frame: Frame, field: Field, number: int, outcome: Any, jobs: list[Job]) -> None:
        """Completes the value of a field by graphql-core's methods."""
        path = frame.path(number, field)
        if outcome.__class__ is Failed:
            self._refuse(frame, field, number, outcome.error)
            return
        info = self._info(frame, field, path)
        complete = self.complete_awaitable_value if self.is_awaitable(outcome) else self.complete_value
        try:
            completed = complete(field.type, field.details, info, path, outcome, None)
        except Exception as error:  # noqa: BLE001 (an error of the field)
            self._refuse(frame, field, number, error)
            return
        if self.is_awaitable(completed):
            jobs.append(self._later(frame, field, number, completed, frame.made[number], field.key))
        else:
            frame.made[number][field.key] = completed

    def _item_by_core(  # noqa: PLR0913, PLR0917 (where the item is)
        self, frame: Frame, field: Field, number: int, position: int, jobs: list[Job], item: Any
    ) -> None:
        """Completes an item of a list by graphql-core's methods."""
        path = frame.path(number, field)
        where = (field.item_type, field.details, self._info(frame, field, path), Path(path, position, None), None)
        items: list[Any] = []
        try:
            if self.is_awaitable(item):
                items.append(self.complete_awaitable_list_item_value(item, *where))
            else:
                self.complete_list_item_value(item, items, *where)
        except Exception as error:  # noqa: BLE001 (an error of the field)
            self._refuse(frame, field, number, error)
            return
        if self.is_awaitable(items[0]):
            jobs.append(self._later(frame, field, number, items[0], frame.made[number][field.key], position))
        else:
            frame.made[number][field.key][position] = items[0]

    async def _later(  # noqa: PLR0913, PLR0917 (whose value it is, and where it goes)
        self, frame: Frame, field: Field, number: int, completed: Awaitable[Any], container: Any, key: Any
    ) -> None:
        try:
            container[key] = await completed
        except Exception as error:  # noqa: BLE001 (an error of the field)
            self._refuse(frame, field, number, error)
        if self.failures.is_all_null:
            raise AllNull

    def _abandon(self, jobs: list[Job]) -> None:
        """Leaves jobs to themselves, as graphql-core does: what was started comes to its end, unseen."""
        if jobs:
            self.settle_in_background(jobs)  # type: ignore[arg-type]

    async def _all(self, jobs: list[Job]) -> None:
        """Runs jobs at the same time, a single one without a task of its own; none if all data is null already."""
        if self.failures.is_all_null:
            self._abandon(jobs)
            raise AllNull
        if len(jobs) == 1:
            await jobs[0]
        elif jobs:
            tasks = [asyncio.ensure_future(job) for job in jobs]
            try:
                await asyncio.gather(*tasks)
            except BaseException:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                raise

    def _refuse(self, frame: Frame, field: Field, number: int, error: Exception) -> None:
        """Makes a field null because of an error, or the closest thing above it that may be."""
        try:
            self.handle_field_error(error, field.type, field.details, frame.path(number, field))
        except GraphQLError as located:
            above, owner = frame.parent, frame.field
            if above is None or owner is None:
                self.failures.add(located, None)
                return
            if owner.is_list and owner.is_item_nullable:
                self.failures.add(located, frame.object_path(number))
            else:
                self._refuse(above, owner, frame.origin(number)[0], located)


class NativeExecutor(CompiledExecutor):
    """For answers that orjson writes: moments stay what they are in the data."""

    native = True

    def execute_operation(self, serially: bool | None = None) -> Any:  # noqa: FBT001 (graphql-core's signature)
        """The result; what graphql-core does before it comes to the plan is in the plan."""
        kind = self.operation.operation
        root_type = self.schema.get_root_type(kind)
        plan = self.plan(root_type) if root_type is not None else None
        if plan is None:
            return super().execute_operation(serially)
        data = self.run_plan(plan, self.root_value, serially=kind is OperationType.MUTATION)
        return self._response(data) if self.is_awaitable(data) else self.build_response(data)

    async def _response(self, data: Awaitable[Any]) -> Any:
        return self.build_response(await data)
