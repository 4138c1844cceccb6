"""What clients see of tasks, categories and dashboards."""

import datetime as dt
from decimal import Decimal

import strawberry

from repositories.life_lock import analytics, tasks
from repositories.permissions import Permission
from repositories.tables import life_lock as rows
from resolvers.life_lock import commands, queries, subscriptions
from resolvers.request.periods import MAX_DAYS
from schema.aggregates.objects import aggregate_view
from schema.events import DomainEvent
from schema.identity import User
from schema.operations.mutation import context_mutation, mutation
from schema.operations.subscription import subscription
from schema.types.connections import ConnectionView, connection
from schema.types.costs import REFRESH
from schema.types.enums import describe_enum
from schema.types.view import (
    FIRST,
    TIME_ZONE,
    Argument,
    Node,
    column,
    computed,
    edge,
    id_argument,
    query,
    view,
)

describe_enum(
    queries.TrendPeriod,
    "The number of days that a trend covers, up to today.",
    WEEK="7 days.",
    MONTH="30 days.",
    YEAR="365 days.",
)


@strawberry.type(description="The priority of a task.")
class Priority:
    level: int = strawberry.field(description="The level from 1 (lowest) to 5 (urgent).")
    name: str = strawberry.field(description="The name of the level: lowest, low, medium, high or urgent.")


_PRIORITIES = [Priority(level=level, name=name) for level, name in enumerate(queries.PRIORITY_NAMES, start=1)]


@aggregate_view(rows.Category)
class Category(Node):
    __slots__ = ()


@aggregate_view(rows.Task)
class Task(Node):
    owner_name: str | None = edge(
        queries.owner_name,
        'The first name of the owner and the initial of the last name, such as "Ada B.", also for an assignee, who may '
        "not see the account. Null if the task is deleted.",
    )
    assignee_name: str | None = edge(
        queries.assignee_name,
        'The first name of the assignee and the initial of the last name, such as "Ada B.", also for an owner, who may '
        "not see the account. Null if there is no assignee or if the task is deleted.",
    )
    priority: Priority = strawberry.field(
        resolver=lambda root: _PRIORITIES[root.priority_level - 1], description="The priority with its name."
    )


@view(rows.TaskAnalytics)
class TaskAnalytics:
    """The viewer's tasks on one day, in the viewer's time zone."""

    date: dt.date = column("The day.")
    tasks_completed: int = column("The number of tasks completed on this day.")
    tasks_created: int = column("The number of tasks created on this day.")
    productivity_score: Decimal = column(
        "100 × completed / max(created + tasks that were overdue when the day began, 1), at most 100."
    )


@view(tasks.DayProgress)
class DayProgress:
    """The numbers of tasks created and completed on one day."""

    date: dt.date = column("The day.")
    completed: int = column("The number of tasks completed on this day.")
    created: int = column("The number of tasks created on this day.")


@view(analytics.DayScore)
class DayScore:
    """One day of a trend."""

    date: dt.date = column("The day.")
    completed: int = column("The number of tasks completed on this day.")
    created: int = column("The number of tasks created on this day.")
    score: Decimal = column("The productivity score of the day, 0 to 100.")
    moving_average: Decimal = column("The mean score of this day and the six days before.")
    week_start: dt.date = column(
        "The first day of the week that this day is in. Weeks start on the viewer's `weekStartsOn`."
    )


@view(tasks.CategoryTotals)
class CategoryTotals:
    """The numbers of tasks in one category."""

    category: Category | None = column("The category. Null for the tasks without a category.")
    total: int = column("The number of tasks in the category.")
    completed: int = column("The number of them that are completed.")


@strawberry.type(
    description="Numbers about the viewer's tasks. Each field executes one statement, and a field that is not selected "
    "none."
)
class LifeLockDashboard:
    """The four counters come from the same statement."""

    total_tasks: int = computed(queries.Dashboard.total_tasks, "The number of tasks.")
    completed_tasks: int = computed(queries.Dashboard.completed_tasks, "The number of completed tasks.")
    overdue_tasks: int = computed(
        queries.Dashboard.overdue_tasks, "The number of open tasks whose due date has passed."
    )
    todays_tasks: int = computed(
        queries.Dashboard.todays_tasks, "The number of tasks that are due today, with any status."
    )
    productivity_score: Decimal = computed(
        queries.Dashboard.productivity_score,
        "The mean score of the last seven days in the viewer's own time zone, 0 to 100.",
    )
    weekly_progress: list[DayProgress] = computed(
        queries.Dashboard.weekly_progress, "The last seven days, without gaps, the oldest first."
    )
    category_breakdown: list[CategoryTotals] = computed(
        queries.Dashboard.category_breakdown,
        "The numbers of tasks by category, by name. Tasks without a category come last.",
    )
    upcoming_deadlines: list[Task] = computed(
        queries.Dashboard.upcoming_deadlines,
        "The open tasks that are due next, the earliest first.",
        first=Argument(int, "Maximum number of tasks, 1 to 500.", 5),
    )


@view(rows.UserDashboardStats)
class UserDashboardStats:
    """The numbers of tasks of one user."""

    user: User | None = edge(queries.owner_of_statistics, "The user.")
    total_tasks: int = column("The number of tasks.")
    pending_tasks: int = column("The number of tasks with the status PENDING.")
    in_progress_tasks: int = column("The number of tasks with the status IN_PROGRESS.")
    completed_tasks: int = column("The number of tasks with the status COMPLETED.")
    cancelled_tasks: int = column("The number of tasks with the status CANCELLED.")
    overdue_tasks: int = column("The number of open tasks whose due date has passed.")
    completion_rate: Decimal = column("100 × completed tasks / tasks. 0 without tasks.")
    last_activity: dt.datetime | None = column("The time of the last change of one of the tasks. Null without tasks.")


@strawberry.type
class LifeLockQueries:
    due_tasks: list[Task] | None = query(
        queries.due_tasks,
        "The viewer's open tasks that are due at a time or before it, overdue tasks included, the earliest first.",
        requires=Permission.TASK_READ,
        until=Argument(dt.datetime, "The latest due date."),
        first=FIRST,
    )
    task_events: list[DomainEvent] | None = query(
        queries.events_of_task,
        "The events of a task, the oldest first. `history` of the task has the newest first, with pages.",
        requires=Permission.EVENT_READ,
        id=id_argument("Task", "The id of the task."),
        first=FIRST,
    )
    task_analytics: list[TaskAnalytics] | None = query(
        queries.analytics,
        "The viewer's days, the oldest first. Days on which no task was created, completed or overdue may be missing.",
        requires=Permission.TASK_READ,
        size=MAX_DAYS,
        since=Argument(dt.date, "The first day.", name="from"),
        until=Argument(dt.date, "The last day, at most 366 days in all.", name="to"),
    )
    life_lock_dashboard: LifeLockDashboard | None = query(
        queries.dashboard, "Numbers about the viewer's tasks.", requires=Permission.TASK_READ, time_zone=TIME_ZONE
    )
    productivity_trends: list[DayScore] | None = query(
        queries.trends,
        "The viewer's days up to today in the viewer's own time zone, without gaps, the oldest first.",
        requires=Permission.TASK_READ,
        size=MAX_DAYS,
        period=Argument(queries.TrendPeriod, "The number of days."),
    )
    user_dashboard_stats: ConnectionView[UserDashboardStats] | None = connection(
        queries.statistics,
        "The numbers of tasks of every user at the time of the last refresh, the most recently active users first. For "
        "admins.",
        requires=Permission.STATISTICS_READ,
    )


@strawberry.type(description="The result of `refreshUserDashboardStats`.")
class RefreshUserDashboardStatsPayload:
    refreshed_at: dt.datetime = strawberry.field(description="The time at which the tasks were counted.")


_WRITE = Permission.TASK_WRITE


@strawberry.type
class LifeLockMutations:
    complete_task = context_mutation(commands.complete_task, returns=Task, requires=_WRITE, is_repeatable=True)
    assign_task = context_mutation(commands.assign_task, returns=Task, requires=_WRITE)
    reopen_task = mutation(commands.reopen_task, returns=Task, requires=_WRITE)
    refresh_user_dashboard_stats: RefreshUserDashboardStatsPayload | None = query(
        queries.refresh_statistics,
        "Counts the tasks of `userDashboardStats` again. For admins.",
        requires=Permission.STATISTICS_REFRESH,
        weight=REFRESH,
    )


@strawberry.type
class LifeLockSubscriptions:
    life_lock_dashboard: LifeLockDashboard = subscription(
        subscriptions.live_dashboard,
        "Numbers about the viewer's tasks: at once, and again after changes of the viewer's tasks and categories, but "
        "at most once per interval (a setting of the gateway, one second by default). Numbers that change with time "
        "alone, such as overdue tasks, are delivered with the next result.",
        requires=Permission.TASK_READ,
        time_zone=TIME_ZONE,
    )
