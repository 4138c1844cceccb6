"""Tasks, their categories, and what they say about a person's days."""

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

import sqlalchemy as sa

from repositories.permissions import RoleName
from repositories.sql.constraints import violation
from repositories.sql.policy import owner, policy, role
from repositories.sql.table import Column, SoftDeleted, Table, Versioned, column
from repositories.sql.types import Fixed


class TaskStatus(StrEnum):
    """Where a task stands. COMPLETED and CANCELLED are closed, the others open."""

    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELLED = "cancelled"


CLOSED = (TaskStatus.COMPLETED, TaskStatus.CANCELLED)


class Category(Table, schema="life_lock", name="categories"):
    """A person's own heading for tasks."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    name: Column[str] = column(length=(1, 100), single_line=True)
    color: Column[str] = column(
        check="length(color) = 7 AND substr(color, 1, 1) = '#' "
        "AND ltrim(substr(color, 2), '0123456789abcdefABCDEF') = ''"
    )

    __table_args__ = (
        sa.UniqueConstraint("user_id", "name", info=violation("name", "You already have a category of this name.")),
        sa.UniqueConstraint("user_id", "id", name="uq_categories_owner"),
    )


class Task(Versioned, SoftDeleted, Table, schema="life_lock", name="tasks"):
    """Something to be done.

    ``completed_at`` is set exactly while the status is COMPLETED; priority 5 is most urgent.
    """

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    title: Column[str] = column(length=(1, 255), single_line=True)
    description: Column[str | None] = column(length=(0, 10_000))
    status: Column[TaskStatus] = column(default=TaskStatus.PENDING)
    priority_level: Column[int] = column(range=(1, 5), default=3)
    category_id: Column[UUID | None] = column()
    due_date: Column[dt.datetime | None] = column()
    completed_at: Column[dt.datetime | None] = column()

    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["user_id", "category_id"],
            ["life_lock.categories.user_id", "life_lock.categories.id"],
            name="fk_tasks_category",
        ),
        sa.CheckConstraint("(status = 'completed') = (completed_at IS NOT NULL)", name="completed_at_shape"),
        sa.Index("ix_tasks_category_id", "category_id"),
        sa.Index("ix_tasks_user_id_completed_at", "user_id", "completed_at"),
        sa.Index("ix_tasks_user_id_created_at", "user_id", "created_at"),
        sa.Index("ix_tasks_user_id_due_date", "user_id", "due_date", "id"),
        sa.Index("ix_tasks_user_id_priority_level", "user_id", "priority_level", "due_date", "id"),
        sa.Index("ix_tasks_user_id_status", "user_id", "status"),
        sa.Index("ix_tasks_user_id_updated_at", "user_id", "updated_at"),
    )


class TaskAnalytics(Table, schema="life_lock", name="task_analytics"):
    """One day of one person, in the person's time zone; a day without a row counts as zeros."""

    __slots__ = ()
    user_id: Column[UUID] = column(references="identity.users.id")
    date: Column[dt.date] = column()
    tasks_completed: Column[int] = column(range=(0, None), default=0)
    tasks_created: Column[int] = column(range=(0, None), default=0)
    productivity_score: Column[Decimal] = column(Fixed(5, 2), default=0)

    __table_args__ = (sa.UniqueConstraint("user_id", "date"),)


class UserDashboardStats(Table, schema="life_lock", name="visible_user_dashboard_stats", is_view=True):
    """Totals per user, as of the last refresh on PostgreSQL and always current on SQLite.

    The materialized view ``user_dashboard_stats`` cannot carry policies, so nobody may read it directly; this view
    beside it carries the condition. ``id`` is the user's id.
    """

    __slots__ = ()
    id: Column[UUID] = column()
    user_id: Column[UUID] = column()
    total_tasks: Column[int] = column()
    pending_tasks: Column[int] = column()
    in_progress_tasks: Column[int] = column()
    completed_tasks: Column[int] = column()
    cancelled_tasks: Column[int] = column()
    overdue_tasks: Column[int] = column()
    completion_rate: Column[Decimal] = column(Fixed(5, 2))
    last_activity: Column[dt.datetime | None] = column()


policy(Category, read=owner(Category.user_id) | role(RoleName.ADMIN), write=owner(Category.user_id))
policy(Task, read=owner(Task.user_id) | role(RoleName.ADMIN), write=owner(Task.user_id))
policy(TaskAnalytics, read=owner(TaskAnalytics.user_id) | role(RoleName.ADMIN), write=owner(TaskAnalytics.user_id))
policy(UserDashboardStats, read=role(RoleName.ADMIN))
