"""What clients see of tasks, categories and dashboards."""

import datetime as dt
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import strawberry

from repositories.life_lock import analytics, tasks
from repositories.permissions import Permission
from repositories.tables import events as event_rows
from repositories.tables import life_lock as rows
from resolvers.life_lock import commands, queries, subscriptions
from resolvers.request.periods import MAX_DAYS
from resolvers.validation.global_ids import global_id
from schema.events import DomainEvent
from schema.identity import User
from schema.operations.mutation import mutation
from schema.operations.subscription import RESUMABLE, subscription
from schema.types.connections import ConnectionView, connection, pages
from schema.types.costs import REFRESH
from schema.types.enums import describe_enum
from schema.types.filter_inputs import (
    ChoiceFilter,
    DateTimeFilter,
    IdFilter,
    IntFilter,
    TextFilter,
    filter_input,
    order_input,
    where,
)
from schema.types.view import (
    FIRST,
    TIME_ZONE,
    Argument,
    Node,
    column,
    computed,
    edge,
    id_argument,
    ids_argument,
    query,
    view,
)

describe_enum(
    rows.TaskStatus,
    "Where a task stands. PENDING and IN_PROGRESS are open, the others closed.",
    PENDING="Not begun.",
    IN_PROGRESS="Being worked on.",
    COMPLETED="Done.",
    CANCELLED="Will not be done.",
)
describe_enum(
    queries.TrendPeriod,
    "How far a trend reaches back.",
    WEEK="7 days.",
    MONTH="30 days.",
    YEAR="365 days.",
)


@filter_input(rows.Task, searched=("title", "description"))
class TaskFilter:
    """Which tasks; all conditions that are given must hold."""

    id: IdFilter | None = where("The task's id.", key="Task")
    user_id: IdFilter | None = where("Whose task; of use to admins, who see everybody's.", key="User")
    title: TextFilter | None = where("What is to be done.")
    description: TextFilter | None = where("The details.")
    status: ChoiceFilter[rows.TaskStatus] | None = where("Where the task stands.")
    priority_level: IntFilter | None = where("How urgent it is, 1 to 5.")
    category_id: IdFilter | None = where("Its category.", key="Category")
    due_date: DateTimeFilter | None = where("When it should be done.")
    completed_at: DateTimeFilter | None = where("When it was done.")
    created_at: DateTimeFilter | None = where("When it was made.")
    updated_at: DateTimeFilter | None = where("When it was last changed.")


TaskOrder = order_input(
    rows.Task,
    title="What is to be done, whatever its case.",
    status="The status by name.",
    priority_level="How urgent it is.",
    due_date="When it should be done.",
    completed_at="When it was done.",
    created_at="When it was made.",
    updated_at="When it was last changed.",
)


@filter_input(rows.Category, searched=("name",))
class CategoryFilter:
    """Which categories; all conditions that are given must hold."""

    id: IdFilter | None = where("The category's id.", key="Category")
    user_id: IdFilter | None = where("Whose category; of use to admins, who see everybody's.", key="User")
    name: TextFilter | None = where("Its name.")
    created_at: DateTimeFilter | None = where("When it was made.")


CategoryOrder = order_input(
    rows.Category,
    name="By name, whatever its case.",
    created_at="When it was made.",
    updated_at="When it was last changed.",
)


@strawberry.type(description="How urgent a task is.")
class Priority:
    """A level and its name."""

    level: int = strawberry.field(description="From 1 to 5; 5 is most urgent.")
    name: str = strawberry.field(description="The level in words: lowest, low, medium, high or urgent.")


_PRIORITIES = [Priority(level=level, name=name) for level, name in enumerate(queries.PRIORITY_NAMES, start=1)]


@view(rows.Category, node=queries.category)
class Category(Node):
    """A person's own heading for tasks."""

    name: str = column("Its name, unique among the owner's categories.")
    color: str = column("Its colour, #RRGGBB.")
    created_at: dt.datetime = column("When it was made.")
    updated_at: dt.datetime = column("When it was last changed.")
    tasks: ConnectionView[Annotated["Task", strawberry.lazy("schema.life_lock")]] = pages(
        queries.tasks_of_category,
        "Its tasks; by default the most urgent first, then by due date.",
        filter=TaskFilter,
        order=TaskOrder,
    )


@view(rows.Task, node=queries.task)
class Task(Node):
    """Something to be done."""

    title: str = column("What is to be done.")
    description: str | None = column("Details.")
    status: rows.TaskStatus = column("Where it stands.")
    priority_level: int = column("How urgent it is, from 1 to 5; 5 is most urgent.")
    priority: Priority = strawberry.field(
        resolver=lambda root: _PRIORITIES[root.priority_level - 1], description="How urgent it is, with a name."
    )
    category: Category | None = edge(queries.category_of_task, "The category it belongs to.")
    due_date: dt.datetime | None = column("When it should be done.")
    completed_at: dt.datetime | None = column("When it was done; set exactly while the status is COMPLETED.")
    user: User | None = edge(queries.owner_of_task, "Whose task it is.")
    version: int = column("Grows with every change; `updateTask` wants the one that was seen.")
    created_at: dt.datetime = column("When it was made.")
    updated_at: dt.datetime = column("When it was last changed.")
    deleted_at: dt.datetime | None = column("When it was deleted; only in the answer of `deleteTask`.")


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

    task: Task | None = query(
        queries.task, "The task of an id.", requires=Permission.TASK_READ, id=id_argument("Task", "The task's id.")
    )
    tasks: ConnectionView[Task] | None = connection(
        queries.tasks,
        "The tasks the viewer may see; by default the most urgent first, then by due date.",
        requires=Permission.TASK_READ,
        filter=TaskFilter,
        order=TaskOrder,
    )
    due_tasks: list[Task] | None = query(
        queries.due_tasks,
        "The viewer's open tasks that are due by a moment, overdue ones included, the earliest first.",
        requires=Permission.TASK_READ,
        until=Argument(dt.datetime, "Until when."),
        first=FIRST,
    )
    category: Category | None = query(
        queries.category,
        "The category of an id.",
        requires=Permission.TASK_READ,
        id=id_argument("Category", "The category's id."),
    )
    categories: ConnectionView[Category] | None = connection(
        queries.categories,
        "The categories the viewer may see; by default by name.",
        requires=Permission.TASK_READ,
        filter=CategoryFilter,
        order=CategoryOrder,
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

    create_task = mutation(commands.create_task, returns=Task, requires=_WRITE)
    update_task = mutation(commands.update_task, returns=Task, requires=_WRITE)
    complete_task = mutation(commands.complete_task, returns=Task, requires=_WRITE)
    reopen_task = mutation(commands.reopen_task, returns=Task, requires=_WRITE)
    delete_task = mutation(commands.delete_task, returns=Task, requires=_WRITE)
    restore_task = mutation(commands.restore_task, returns=Task, requires=_WRITE)
    create_tasks = mutation(commands.create_tasks, returns=Task, requires=_WRITE, many=True)
    update_tasks = mutation(commands.update_tasks, returns=Task, requires=_WRITE, many=True)
    create_category = mutation(commands.create_category, returns=Category, requires=_WRITE)
    update_category = mutation(commands.update_category, returns=Category, requires=_WRITE)
    delete_category = mutation(commands.delete_category, returns=Category, requires=_WRITE)
    refresh_user_dashboard_stats: RefreshUserDashboardStatsPayload | None = query(
        queries.refresh_statistics,
        "Counts `userDashboardStats` anew. For admins.",
        requires=Permission.STATISTICS_REFRESH,
        weight=REFRESH,
    )


@view(event_rows.DomainEvent)
class TaskChange:
    """Something that happened to a task."""

    id: UUID = column("The event's id; whoever was interrupted goes on after it.")
    event_type: str = column("What happened, such as TaskCompleted.")
    task_id: strawberry.ID = strawberry.field(
        resolver=lambda root: strawberry.ID(global_id("Task", root.aggregate_id)),
        description="The task's id, also once it is deleted and `task` is null.",
    )
    aggregate_id: UUID = column("The `databaseId` of the task.", name="taskDatabaseId")
    timestamp: dt.datetime = column("When it happened.")
    task: Task | None = edge(subscriptions.task_of_event, "The task as it is now; null if it was deleted since.")


@strawberry.type
class LifeLockSubscriptions:
    """Root fields."""

    task_changed: TaskChange = subscription(
        subscriptions.task_changed,
        "What happens to the tasks of these ids that the viewer may see; without ids, to all of the viewer's own."
        + RESUMABLE,
        requires=Permission.TASK_READ,
        ids=ids_argument("Task", "The tasks' ids, 1 to 100."),
    )
    life_lock_dashboard: LifeLockDashboard = subscription(
        subscriptions.live_dashboard,
        "The viewer's tasks at a glance: at once, and anew whenever one of the viewer's tasks or categories changes, "
        "but not more often than the gateway's interval (one second if nothing else was set). What time alone changes, "
        "such as a task that becomes overdue, comes with the next answer.",
        requires=Permission.TASK_READ,
        time_zone=TIME_ZONE,
    )
