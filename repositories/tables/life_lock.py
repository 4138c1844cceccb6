"""Tasks, their categories, and statistics about them."""

import datetime as dt
from decimal import Decimal
from uuid import UUID

import sqlalchemy as sa

from repositories.described_enum import DescribedEnum
from repositories.permissions import RoleName
from repositories.sql.aggregate import aggregate
from repositories.sql.constraints import violation
from repositories.sql.filters import Direction, SortKey
from repositories.sql.policy import assignee, owner, policy, role
from repositories.sql.table import Column, Inverse, Pattern, SoftDeleted, Table, Versioned, Writer, column
from repositories.sql.types import Fixed


class TaskStatus(DescribedEnum):
    """The status of a task. PENDING and IN_PROGRESS are open, COMPLETED and CANCELLED are closed."""

    PENDING = "pending", "Not started."
    IN_PROGRESS = "in_progress", "Started, but not completed."
    COMPLETED = "completed", "Completed."
    CANCELLED = "cancelled", "Will not be completed."


CLOSED = (TaskStatus.COMPLETED, TaskStatus.CANCELLED)


class Category(Table, schema="life_lock", name="categories"):
    """A user's category for tasks."""

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user who owns the category.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    name: Column[str] = column(
        "The name, unique among the categories of the owner.",
        length=(1, 100),
        single_line=True,
        searched=True,
        filtered=True,
        sorted=True,
    )
    color: Column[str] = column(
        "The colour as #RRGGBB.",
        format=Pattern("#[0-9a-fA-F]{6}", "A colour is # and six hexadecimal digits, such as #3B82F6"),
        check="length(color) = 7 AND substr(color, 1, 1) = '#' "
        "AND ltrim(substr(color, 2), '0123456789abcdefABCDEF') = ''",
        input_default="#3B82F6",
    )

    __table_args__ = (
        sa.UniqueConstraint("user_id", "name", info=violation("name", "You already have a category of this name.")),
        sa.UniqueConstraint("user_id", "id", name="uq_categories_owner"),
    )


_IS_ASSIGNED = sa.text("assignee_id IS NOT NULL")


class Task(Versioned, SoftDeleted, Table, schema="life_lock", name="tasks"):
    """A to-do item of a user.

    ``completed_at`` is set if and only if the status is COMPLETED.
    """

    __slots__ = ()
    user_id: Column[UUID] = column(
        "The user who owns the task.", references="identity.users.id", writer=Writer.GATEWAY, filtered=True
    )
    title: Column[str] = column(
        "The title.", length=(1, 255), single_line=True, searched=True, filtered=True, sorted=True
    )
    description: Column[str | None] = column("Details.", length=(0, 10_000), searched=True, filtered=True)
    status: Column[TaskStatus] = column(
        "The status. COMPLETED sets `completedAt`, every other status clears it.",
        default=TaskStatus.PENDING,
        filtered=True,
        sorted=True,
        history=True,
    )
    priority_level: Column[int] = column(
        "The priority from 1 (lowest) to 5 (urgent).", range=(1, 5), default=3, filtered=True, sorted=True, history=True
    )
    category_id: Column[UUID | None] = column(
        "The category, one of the owner's.",
        inverse=Inverse("tasks", "The tasks in the category."),
        filtered=True,
        history=True,
    )
    due_date: Column[dt.datetime | None] = column(
        "The time by which the task is to be completed.", filtered=True, sorted=True, history=True
    )
    assignee_id: Column[UUID | None] = column(
        "The user who may read and complete the task besides its owner.",
        references="identity.users.id",
        writer=Writer.GATEWAY,
        filtered=True,
        history=True,
    )
    completed_at: Column[dt.datetime | None] = column(
        "The time of completion. Null unless the status is COMPLETED.",
        writer=Writer.GATEWAY,
        filtered=True,
        sorted=True,
        history=True,
    )

    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["user_id", "category_id"],
            ["life_lock.categories.user_id", "life_lock.categories.id"],
            name="fk_tasks_category",
        ),
        sa.CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_at_shape"),
        sa.Index(
            "ix_tasks_assignee_id_priority_level",
            "assignee_id",
            "priority_level",
            "due_date",
            "id",
            postgresql_where=_IS_ASSIGNED,
            sqlite_where=_IS_ASSIGNED,
        ),
        sa.Index("ix_tasks_category_id", "category_id"),
        sa.Index("ix_tasks_user_id_completed_at", "user_id", "completed_at"),
        sa.Index("ix_tasks_user_id_created_at", "user_id", "created_at"),
        sa.Index("ix_tasks_user_id_due_date", "user_id", "due_date", "id"),
        sa.Index("ix_tasks_user_id_priority_level", "user_id", "priority_level", "due_date", "id"),
        sa.Index("ix_tasks_user_id_status", "user_id", "status"),
        sa.Index("ix_tasks_user_id_updated_at", "user_id", "updated_at"),
    )


class TaskNames(Table, schema="life_lock", name="task_names", is_view=True):
    """The names of the people of a task that is not deleted, in the form of the leaderboard: "Ada B.".

    Those who may read the task may read its row, although they may not see each other's accounts. ``id`` is the task's.
    """

    __slots__ = ()
    id: Column[UUID] = column()
    user_id: Column[UUID] = column()
    assignee_id: Column[UUID | None] = column()
    owner_name: Column[str] = column()
    assignee_name: Column[str | None] = column()


class TaskAnalytics(Table, schema="life_lock", name="task_analytics"):
    """The tasks of a user on one day, in the user's time zone."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    date: Column[dt.date] = column("The day.")
    tasks_completed: Column[int] = column("The number of tasks completed on this day.", range=(0, None), default=0)
    tasks_created: Column[int] = column("The number of tasks created on this day.", range=(0, None), default=0)
    productivity_score: Column[Decimal] = column(
        "100 × completed / max(created + tasks that were overdue when the day began, 1), at most 100.",
        Fixed(5, 2),
        default=0,
    )

    __table_args__ = (sa.UniqueConstraint("user_id", "date"),)


class UserDashboardStats(Table, schema="life_lock", name="visible_user_dashboard_stats", is_view=True):
    """The numbers of tasks of one user."""

    # As of the last refresh on PostgreSQL, and always current on SQLite. The materialized view ``user_dashboard_stats``
    # cannot have policies, so no viewer may read it directly. This view of it has the condition. ``id`` is the user's.
    __slots__ = ()
    id: Column[UUID] = column()
    user_id: Column[UUID] = column()
    total_tasks: Column[int] = column("The number of tasks.")
    pending_tasks: Column[int] = column("The number of tasks with the status PENDING.")
    in_progress_tasks: Column[int] = column("The number of tasks with the status IN_PROGRESS.")
    completed_tasks: Column[int] = column("The number of tasks with the status COMPLETED.")
    cancelled_tasks: Column[int] = column("The number of tasks with the status CANCELLED.")
    overdue_tasks: Column[int] = column("The number of open tasks whose due date has passed.")
    completion_rate: Column[Decimal] = column("100 × completed tasks / tasks. 0 without tasks.", Fixed(5, 2))
    last_activity: Column[dt.datetime | None] = column(
        "The time of the last change of one of the tasks. Null without tasks."
    )


aggregate(
    Category,
    read=owner(Category.user_id) | role(RoleName.ADMIN),
    write=owner(Category.user_id),
    order=(SortKey("name"),),
    order_text="by name",
)
aggregate(
    Task,
    read=owner(Task.user_id) | assignee(Task.assignee_id, Task.deleted_at) | role(RoleName.ADMIN),
    write=owner(Task.user_id),
    order=(SortKey("priority_level", Direction.DESC), SortKey("due_date")),
    order_text="the most urgent first, then by due date",
    batch=500,
)
policy(TaskNames, read=owner(TaskNames.user_id) | assignee(TaskNames.assignee_id) | role(RoleName.ADMIN))
policy(TaskAnalytics, read=owner(TaskAnalytics.user_id) | role(RoleName.ADMIN), write=owner(TaskAnalytics.user_id))
policy(UserDashboardStats, read=role(RoleName.ADMIN))
