"""What clients see of tasks, categories and dashboards."""

import strawberry

from repositories.permissions import Permission
from repositories.tables import life_lock as rows
from resolvers.life_lock import commands, queries, subscriptions
from resolvers.request.periods import MAX_DAYS
from schema.aggregates.objects import aggregate_view
from schema.identity import User
from schema.operations.mutation import context_mutation, mutation
from schema.operations.subscription import subscription
from schema.types.connections import connection
from schema.types.costs import REFRESH
from schema.types.derived_types import graphql_type, query, result_view
from schema.types.view import Node, edge


@strawberry.type(description="The priority of a task.")
class Priority:
    level: int = strawberry.field(description="The level from 1 (lowest) to 5 (urgent).")
    name: str = strawberry.field(description="The name of the level: lowest, low, medium, high or urgent.")


_PRIORITIES = [Priority(level=level, name=name) for level, name in enumerate(queries.PRIORITY_NAMES, start=1)]


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


@result_view(rows.UserDashboardStats)
class UserDashboardStats:
    user: User | None = edge(queries.owner_of_statistics, "The user.")


_READ, _WRITE = Permission.TASK_READ, Permission.TASK_WRITE


@strawberry.type
class LifeLockQueries:
    due_tasks = query(queries.due_tasks, requires=_READ)
    task_events = query(queries.task_events, requires=Permission.EVENT_READ)
    task_analytics = query(queries.task_analytics, requires=_READ, size=MAX_DAYS)
    life_lock_dashboard = query(queries.life_lock_dashboard, requires=_READ)
    productivity_trends = query(queries.productivity_trends, requires=_READ, size=MAX_DAYS)
    user_dashboard_stats = connection(queries.user_dashboard_stats, requires=Permission.STATISTICS_READ)


@strawberry.type
class LifeLockMutations:
    refresh_user_dashboard_stats = query(
        queries.refresh_user_dashboard_stats, requires=Permission.STATISTICS_REFRESH, weight=REFRESH
    )
    complete_task = context_mutation(commands.complete_task, requires=_WRITE, is_repeatable=True)
    assign_task = context_mutation(commands.assign_task, requires=_WRITE)
    reopen_task = mutation(commands.reopen_task, requires=_WRITE)


@strawberry.type
class LifeLockSubscriptions:
    life_lock_dashboard = subscription(
        subscriptions.life_lock_dashboard, graphql_type(queries.LifeLockDashboard), requires=_READ
    )
