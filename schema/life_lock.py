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
from schema.operations.mutation import mutation
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
    "How far a trend reaches back.",
    WEEK="7 days.",
    MONTH="30 days.",
    YEAR="365 days.",
)


@strawberry.type(description="How urgent a task is.")
class Priority:
    """A level and its name."""

    level: int = strawberry.field(description="From 1 to 5; 5 is most urgent.")
    name: str = strawberry.field(description="The level in words: lowest, low, medium, high or urgent.")


_PRIORITIES = [Priority(level=level, name=name) for level, name in enumerate(queries.PRIORITY_NAMES, start=1)]


@aggregate_view(rows.Category)
class Category(Node):
    __slots__ = ()


@aggregate_view(rows.Task)
class Task(Node):
    priority: Priority = strawberry.field(
        resolver=lambda root: _PRIORITIES[root.priority_level - 1], description="The priority with its name."
    )


@view(rows.TaskAnalytics)
class TaskAnalytics:
    """One day of the viewer's, in the viewer's time zone. A day on which nothing happened has none."""

    date: dt.date = column("The day.")
    tasks_completed: int = column("How many tasks were completed on it.")
    tasks_created: int = column("How many tasks were made on it.")
    productivity_score: Decimal = column("100 × completed / max(created + overdue carried in, 1), at most 100.")


@view(tasks.DayProgress)
class DayProgress:
    """What happened on one day."""

    date: dt.date = column("The day.")
    completed: int = column("How many tasks were completed on it.")
    created: int = column("How many tasks were made on it.")


@view(analytics.DayScore)
class DayScore:
    """One day of a trend."""

    date: dt.date = column("The day.")
    completed: int = column("How many tasks were completed on it.")
    created: int = column("How many tasks were made on it.")
    score: Decimal = column("The day's productivity score, 0 to 100.")
    moving_average: Decimal = column("The mean score of the seven days that end with it.")
    week_start: dt.date = column("The first day of its week. Weeks start on the viewer's `weekStartsOn`.")


@view(tasks.CategoryTotals)
class CategoryTotals:
    """The tasks of one category."""

    category: Category | None = column("The category; null stands for tasks without one.")
    total: int = column("How many tasks it has.")
    completed: int = column("How many of them are completed.")


@strawberry.type(
    description="A person's tasks at a glance. Each tile is one statement; a tile that is not asked for costs nothing."
)
class LifeLockDashboard:
    """Tiles. The four counters come from one pass over the tasks and count as one tile."""

    total_tasks: int = computed(queries.Dashboard.total_tasks, "All tasks.")
    completed_tasks: int = computed(queries.Dashboard.completed_tasks, "Those that are completed.")
    overdue_tasks: int = computed(queries.Dashboard.overdue_tasks, "Open ones whose due date has passed.")
    todays_tasks: int = computed(queries.Dashboard.todays_tasks, "Those that are due today, whatever their status.")
    productivity_score: Decimal = computed(
        queries.Dashboard.productivity_score,
        "The mean score, 0 to 100, of the last seven days as the viewer's own time zone has them.",
    )
    weekly_progress: list[DayProgress] = computed(
        queries.Dashboard.weekly_progress, "The last seven days without gaps, today last."
    )
    category_breakdown: list[CategoryTotals] = computed(
        queries.Dashboard.category_breakdown, "Tasks by category, by name; tasks without a category come last."
    )
    upcoming_deadlines: list[Task] = computed(
        queries.Dashboard.upcoming_deadlines,
        "The open tasks that are due next.",
        first=Argument(int, "How many at most, 1 to 500.", 5),
    )


@view(rows.UserDashboardStats)
class UserDashboardStats:
    """Totals of one user."""

    user: User | None = edge(queries.owner_of_statistics, "The user.")
    total_tasks: int = column("All tasks.")
    pending_tasks: int = column("Those not begun.")
    in_progress_tasks: int = column("Those being worked on.")
    completed_tasks: int = column("Those that are done.")
    cancelled_tasks: int = column("Those that will not be done.")
    overdue_tasks: int = column("Open ones whose due date has passed.")
    completion_rate: Decimal = column("100 × completed / all, 0 without tasks.")
    last_activity: dt.datetime | None = column("When one of the tasks was last changed.")


@strawberry.type
class LifeLockQueries:
    """Root fields."""

    due_tasks: list[Task] | None = query(
        queries.due_tasks,
        "The viewer's open tasks that are due by a moment, overdue ones included, the earliest first.",
        requires=Permission.TASK_READ,
        until=Argument(dt.datetime, "Until when."),
        first=FIRST,
    )
    task_events: list[DomainEvent] | None = query(
        queries.events_of_task,
        "What happened to a task, oldest first, as far as the viewer did it.",
        requires=Permission.EVENT_READ,
        id=id_argument("Task", "The task's id."),
        first=FIRST,
    )
    task_analytics: list[TaskAnalytics] | None = query(
        queries.analytics,
        "The viewer's days on which something happened, or was overdue when they began, oldest first.",
        requires=Permission.TASK_READ,
        size=MAX_DAYS,
        since=Argument(dt.date, "The first day.", name="from"),
        until=Argument(dt.date, "The last day, at most 366 days in all.", name="to"),
    )
    life_lock_dashboard: LifeLockDashboard | None = query(
        queries.dashboard, "The viewer's tasks at a glance.", requires=Permission.TASK_READ, time_zone=TIME_ZONE
    )
    productivity_trends: list[DayScore] | None = query(
        queries.trends,
        "The viewer's days up to today, without gaps, oldest first, in the viewer's own time zone.",
        requires=Permission.TASK_READ,
        size=MAX_DAYS,
        period=Argument(queries.TrendPeriod, "How far back."),
    )
    user_dashboard_stats: ConnectionView[UserDashboardStats] | None = connection(
        queries.statistics,
        "Totals of every user as of the last refresh, most recently active first. For admins.",
        requires=Permission.STATISTICS_READ,
    )


@strawberry.type(description="The answer of `refreshUserDashboardStats`.")
class RefreshUserDashboardStatsPayload:
    """There is nothing in it that a person could get wrong, so there are no userErrors."""

    refreshed_at: dt.datetime = strawberry.field(description="When the totals were counted.")


_WRITE = Permission.TASK_WRITE


@strawberry.type
class LifeLockMutations:
    """Root fields."""

    complete_task = mutation(commands.complete_task, returns=Task, requires=_WRITE)
    reopen_task = mutation(commands.reopen_task, returns=Task, requires=_WRITE)
    delete_category = mutation(commands.delete_category, returns=Category, requires=_WRITE)
    refresh_user_dashboard_stats: RefreshUserDashboardStatsPayload | None = query(
        queries.refresh_statistics,
        "Counts `userDashboardStats` anew. For admins.",
        requires=Permission.STATISTICS_REFRESH,
        weight=REFRESH,
    )


@strawberry.type
class LifeLockSubscriptions:
    """Root fields."""

    life_lock_dashboard: LifeLockDashboard = subscription(
        subscriptions.live_dashboard,
        "The viewer's tasks at a glance: at once, and anew whenever one of the viewer's tasks or categories changes, "
        "but not more often than the gateway's interval (one second if nothing else was set). What time alone changes, "
        "such as a task that becomes overdue, comes with the next answer.",
        requires=Permission.TASK_READ,
        time_zone=TIME_ZONE,
    )
