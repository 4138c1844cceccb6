"""The GraphQL types and fields for administrators: roles, the audit log, overviews and the health of the gateway."""

import datetime as dt
from decimal import Decimal
from typing import Any

import strawberry

from repositories.administration import has_granted_role
from repositories.permissions import Permission, RoleName
from repositories.tables import administration as rows
from repositories.tables import events
from repositories.tables.identity import User, UserStatus
from resolvers.administration import commands, queries
from resolvers.administration.health import Health, health
from resolvers.caching import cache
from schema.aggregates.list_inputs import add_condition
from schema.aggregates.objects import type_of
from schema.aggregates.published_enums import publish_enum
from schema.events import DomainEvent
from schema.operations.mutation import mutation
from schema.types.connections import ConnectionView, connection
from schema.types.filter_inputs import (
    ChoiceFilter,
    DateTimeFilter,
    IdFilter,
    TextFilter,
    UuidFilter,
    filter_input,
    where,
)
from schema.types.view import Argument, column, computed, query, view

publish_enum(RoleName)
add_condition(
    User,
    "granted_role",
    ChoiceFilter[RoleName],
    where(
        "A role that the user was granted in addition to the role of the account. A user without grants has no value.",
        rewrite=has_granted_role,
    ),
)
publish_enum(UserStatus)


@filter_input(events.DomainEvent)
class AuditLogFilter:
    """Conditions on events."""

    user_id: IdFilter | None = where("The user who caused the event.", key="User")
    aggregate_type: TextFilter | None = where("The type of the object that the event is about, such as task.")
    aggregate_id: UuidFilter | None = where("The `databaseId` of the object that the event is about.")
    event_type: TextFilter | None = where("The type of the event, such as TaskCompleted.")
    timestamp: DateTimeFilter | None = where("The time of the event.")


@view(queries.StatusTotal)
class UserStatusTotal:
    """The number of users with a status."""

    status: UserStatus = column("The status.")
    total: int = column("The number of users with this status.")


@view(queries.RoleTotal)
class UserRoleTotal:
    """The number of users with a role."""

    role: RoleName = column("The role.")
    total: int = column(
        "The number of users who have the role by the account or by a grant. Every user has the role USER."
    )


@strawberry.type(
    description="The tasks of all users without deleted ones, as of `refreshedAt`. They are counted every hour and by "
    "`refreshUserDashboardStats`."
)
class TasksOverview:
    total: int = computed(queries.TasksOverview.total, "The number of tasks.")
    completed: int = computed(queries.TasksOverview.completed, "The number of completed tasks.")
    overdue: int = computed(
        queries.TasksOverview.overdue,
        "The number of tasks whose due date had passed and that were neither completed nor cancelled.",
    )
    mean_completion_rate: Decimal | None = computed(
        queries.TasksOverview.mean_completion_rate,
        "The mean completion rate of the users who have tasks, 0.00 to 100.00. Null if no user has tasks.",
    )
    refreshed_at: dt.datetime | None = computed(
        queries.TasksOverview.refreshed_at,
        "The time of the count. On SQLite it is the time of the request. Null if the tasks were never counted.",
    )


@strawberry.type(
    description="Numbers of all users without deleted ones. Each field executes one statement, only if it is selected."
)
class UsersOverview:
    """Tiles. What is counted in one pass over the users counts as one tile."""

    by_status: list[UserStatusTotal] = computed(
        queries.Overview.by_status, "The number of users by status, every status included."
    )
    by_role: list[UserRoleTotal] = computed(
        queries.Overview.by_role, "The number of users by role, every role included."
    )
    new_this_week: int = computed(
        queries.Overview.new_this_week,
        "The number of accounts created since the week started.",
    )
    new_this_month: int = computed(
        queries.Overview.new_this_month, "The number of accounts created since the month started."
    )
    active_last_seven_days: int = computed(
        queries.Overview.active_last_seven_days, "The number of users who caused an event in the last 7 × 24 hours."
    )
    tasks: TasksOverview = computed(queries.Overview.tasks, "The tasks of all users.")


@view(cache.CacheHealth)
class CacheHealth:
    """Counters of the cache of computed values in this process since its start."""

    backend: str = column("The store: memory, which belongs to this process, or redis, which all processes share.")
    hits: int = column("The number of lookups that found a current value.")
    misses: int = column("The number of lookups that found no value.")
    stale: int = column("The number of lookups that found an outdated value.")
    errors: int = column("The number of lookups that Redis did not answer in time.")


@strawberry.type(
    description="The health of the gateway, as seen by the process that answers. Only selected fields are computed."
)
class SystemHealth:
    """What is counted is one statement each."""

    engine: str = computed(Health.engine, "The database: postgresql or sqlite.")
    connections: int = computed(
        Health.connections, "The number of open database connections of this process for requests."
    )
    connections_in_use: int = computed(Health.connections_in_use, "The number of these connections that are in use.")
    revision: str = computed(Health.revision, "The newest migration of the database.")
    users: int = computed(Health.users, "The number of accounts without deleted ones.")
    sessions: int = computed(Health.sessions, "The number of sessions that have not ended.")
    events: int = computed(Health.events, "The number of stored events.")
    followers: int = computed(
        Health.followers,
        "The number of subscribers to events in this process: each subscription, and each WebSocket or event stream of "
        "a signed-in user, which must learn of the end of the session.",
    )
    cache: CacheHealth | None = computed(Health.cache, "The counters of the cache. Null if the gateway has no cache.")
    uptime_seconds: int = computed(Health.uptime_seconds, "The time since the start of this process in seconds.")


_READ, _WRITE = Permission.ADMINISTRATION_READ, Permission.ADMINISTRATION_WRITE


@strawberry.type
class AdministrationQueries:
    roles: Any = query(
        queries.roles,
        "All roles that can be granted, by name. For administrators.",
        requires=_READ,
        kind=list[type_of(rows.Role)] | None,  # type: ignore[misc]
    )
    audit_log: ConnectionView[DomainEvent] | None = connection(
        queries.audit_log,
        "The events of all users, the latest first. For administrators.",
        requires=_READ,
        filter=AuditLogFilter,
    )
    system_health: SystemHealth | None = query(health, "The health of the gateway. For administrators.", requires=_READ)
    users_overview: UsersOverview | None = query(
        queries.overview,
        "Numbers of all users. For administrators.",
        requires=_READ,
        time_zone=Argument(
            str | None,
            "The IANA time zone in which weeks and months begin. By default the viewer's time zone. Weeks start on the "
            "viewer's `weekStartsOn`.",
            strawberry.UNSET,
        ),
    )


@strawberry.type
class AdministrationMutations:
    grant_role = mutation(commands.grant_role, returns=type_of(rows.RoleGrant), requires=_WRITE)
    revoke_role = mutation(commands.revoke_role, returns=type_of(rows.RoleGrant), requires=_WRITE)
