"""What is said to change tasks and categories."""

from typing import Annotated
from uuid import UUID

from pydantic import Field, StringConstraints
from strawberry import Maybe

from repositories.tables.life_lock import TaskStatus
from resolvers.validation.command import Command, Moment, Storable, Version, Visible, matching
from resolvers.validation.global_ids import GlobalKey

TaskKey = Annotated[UUID, GlobalKey("Task")]
CategoryKey = Annotated[UUID, GlobalKey("Category")]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), Visible]
Description = Annotated[str, StringConstraints(max_length=10_000), Storable]
Priority = Annotated[int, Field(ge=1, le=5)]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Visible]
Color = Annotated[str, matching("#[0-9a-fA-F]{6}", "A colour is # and six hexadecimal digits, such as #3B82F6")]

MAX_BATCH = 500


class CreateTask(Command):
    """A new task."""

    title: Title
    """What is to be done, 1 to 255 characters."""
    description: Description | None = None
    """Details, at most 10,000 characters."""
    priority_level: Priority = 3
    """How urgent it is, from 1 to 5; 5 is most urgent."""
    category_id: CategoryKey | None = None
    """The category it belongs to, one of the viewer's own."""
    due_date: Moment | None = None
    """When it should be done."""
    database_id: UUID | None = None
    """A UUID for the new task, for clients that make ids themselves; by default the gateway makes one."""


class UpdateTask(Command):
    """Changes of a task; what is left out stays as it is."""

    id: TaskKey
    """The task."""
    version: Version
    """The version that was seen; if the task has another by now, nothing is changed."""
    title: Maybe[Title]
    """What is to be done, 1 to 255 characters."""
    description: Maybe[Description | None]
    """Details, at most 10,000 characters; null removes them."""
    status: Maybe[TaskStatus]
    """Where the task stands. COMPLETED sets `completedAt`, every other status clears it."""
    priority_level: Maybe[Priority]
    """How urgent it is, from 1 to 5; 5 is most urgent."""
    category_id: Maybe[CategoryKey | None]
    """The category it belongs to, one of the viewer's own; null takes it out of its category."""
    due_date: Maybe[Moment | None]
    """When it should be done; null removes the date."""


class ChangeTask(Command):
    """A task whose state is to be changed."""

    id: TaskKey
    """The task."""
    version: Version | None = None
    """The version that was seen; if given and the task has another by now, nothing is changed."""


class CompleteTask(ChangeTask):
    """The task that is done."""


class ReopenTask(ChangeTask):
    """The completed or cancelled task that is to be open again."""


class DeleteTask(ChangeTask):
    """The task to put away."""


class RestoreTask(ChangeTask):
    """The deleted task to bring back."""


class CreateTasks(Command):
    """New tasks, all or none."""

    tasks: Annotated[list[CreateTask], Field(min_length=1, max_length=MAX_BATCH)]
    """The tasks, 1 to 500; they are made in this order."""


class UpdateTasks(Command):
    """Changes of several tasks, all or none."""

    tasks: Annotated[list[UpdateTask], Field(min_length=1, max_length=MAX_BATCH)]
    """The changes, 1 to 500, each of another task."""


class CreateCategory(Command):
    """A new category."""

    name: Name
    """Its name, 1 to 100 characters, unique among the viewer's categories."""
    color: Color = "#3B82F6"
    """Its colour, #RRGGBB."""
    database_id: UUID | None = None
    """A UUID for the new category, for clients that make ids themselves; by default the gateway makes one."""


class UpdateCategory(Command):
    """Changes of a category; what is left out stays as it is."""

    id: CategoryKey
    """The category."""
    name: Maybe[Name]
    """Its name, 1 to 100 characters, unique among the viewer's categories."""
    color: Maybe[Color]
    """Its colour, #RRGGBB."""


class DeleteCategory(Command):
    """The category to delete; its tasks live on without a category."""

    id: CategoryKey
    """The category."""
