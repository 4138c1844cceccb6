"""What administrators see: roles, the audit log, all users at a glance."""

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
from schema.aggregates.enums import publish_enum
from schema.aggregates.lists import add_condition
from schema.aggregates.objects import type_of
from schema.events import DomainEvent
from schema.operations.mutation import mutation
from schema.types.connections import ConnectionView, connection
from schema.types.enums import describe_enum
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

describe_enum(
    RoleName,
    "A role of a signed-in user. Roles decide what the user may do.",
    name="RoleName",
    USER="Every user with an account.",
    PARTNERSHIP_MANAGER="Manages partners and their referrals.",
    ADMIN="Sees and administers everything.",
)
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
    """Which events; all conditions that are given must hold."""

    user_id: IdFilter | None = where("The actor: who did it.", key="User")
    aggregate_type: TextFilter | None = where("What it happened to, such as task.")
    aggregate_id: UuidFilter | None = where("The `databaseId` of what it happened to.")
    event_type: TextFilter | None = where("What happened, such as TaskCompleted.")
    timestamp: DateTimeFilter | None = where("When it happened.")


@view(queries.StatusTotal)
class UserStatusTotal:
    """How many users have a status."""

    status: UserStatus = column("The status.")
    total: int = column("How many users have it.")


@view(queries.RoleTotal)
class UserRoleTotal:
    """How many users have a role."""

    role: RoleName = column("The role.")
    total: int = column("How many users have it, by the account or by a grant; everybody is a USER.")


@strawberry.type(
    description="The tasks of all users, deleted ones left out, as of `refreshedAt`: counted every hour, and by "
    "`refreshUserDashboardStats`."
)
class TasksOverview:
    """Tiles."""

    total: int = computed(queries.TasksOverview.total, "How many tasks there are.")
    completed: int = computed(queries.TasksOverview.completed, "How many of them are completed.")
    overdue: int = computed(
        queries.TasksOverview.overdue, "How many of them were due, and neither completed nor cancelled."
    )
    mean_completion_rate: Decimal | None = computed(
        queries.TasksOverview.mean_completion_rate,
        "The mean of the users' completion rates, 0.00 to 100.00, over those who have tasks; null if nobody has.",
    )
    refreshed_at: dt.datetime | None = computed(
        queries.TasksOverview.refreshed_at,
        "What was done before this moment is counted, on SQLite all there is; null if it was never refreshed.",
    )


@strawberry.type(
    description="All users at a glance, deleted ones left out. Each tile is one statement; one not asked for is free."
)
class UsersOverview:
    """Tiles. What is counted in one pass over the users counts as one tile."""

    by_status: list[UserStatusTotal] = computed(
        queries.Overview.by_status, "How many users have each status, also with 0."
    )
    by_role: list[UserRoleTotal] = computed(queries.Overview.by_role, "How many users have each role, also with 0.")
    new_this_week: int = computed(
        queries.Overview.new_this_week,
        "How many accounts were created since the week started.",
    )
    new_this_month: int = computed(queries.Overview.new_this_month, "Whose account was made since the first.")
    active_last_seven_days: int = computed(
        queries.Overview.active_last_seven_days, "Who did something in the last 7 × 24 hours, by the events."
    )
    tasks: TasksOverview = computed(queries.Overview.tasks, "Their tasks.")


@view(cache.CacheHealth)
class CacheHealth:
    """What the cache of computed values has done in this process since it began."""

    backend: str = column("Where values are kept: memory, which is this process's own, or redis, which all share.")
    hits: int = column("How often a value was found that is right.")
    misses: int = column("How often none was found.")
    stale: int = column("How often one was found that is out of date.")
    errors: int = column("How often Redis did not answer, or not in time.")


@strawberry.type(description="How the gateway is, as the process that answers sees it. What is not asked for is free.")
class SystemHealth:
    """What is counted is one statement each."""

    engine: str = computed(Health.engine, "The database: postgresql or sqlite.")
    connections: int = computed(Health.connections, "How many database connections this process has open for requests.")
    connections_in_use: int = computed(Health.connections_in_use, "How many of them are in use at this moment.")
    revision: str = computed(Health.revision, "The migration that the database is at.")
    users: int = computed(Health.users, "How many accounts there are, deleted ones left out.")
    sessions: int = computed(Health.sessions, "How many sessions have not ended.")
    events: int = computed(Health.events, "How many events are recorded.")
    followers: int = computed(
        Health.followers,
        "How many follow the events in this process: each subscription, and each WebSocket or event stream of somebody "
        "who is signed in, which has to learn of the end of the session.",
    )
    cache: CacheHealth | None = computed(Health.cache, "How the cache does; null if nothing is cached.")
    uptime_seconds: int = computed(Health.uptime_seconds, "For how many seconds this process has been running.")


_READ, _WRITE = Permission.ADMINISTRATION_READ, Permission.ADMINISTRATION_WRITE


@strawberry.type
class AdministrationQueries:
    """Root fields."""

    roles: Any = query(
        queries.roles,
        "All roles that can be granted, by name. For administrators.",
        requires=_READ,
        kind=list[type_of(rows.Role)] | None,  # type: ignore[misc]
    )
    audit_log: ConnectionView[DomainEvent] | None = connection(
        queries.audit_log,
        "Who did what and when, the latest first.",
        requires=_READ,
        filter=AuditLogFilter,
    )
    system_health: SystemHealth | None = query(health, "How the gateway is.", requires=_READ)
    users_overview: UsersOverview | None = query(
        queries.overview,
        "All users at a glance.",
        requires=_READ,
        time_zone=Argument(
            str | None,
            "The IANA time zone that decides when a week and a month begin; by default the viewer's own. Weeks start "
            "on the viewer's `weekStartsOn`.",
            strawberry.UNSET,
        ),
    )


@strawberry.type
class AdministrationMutations:
    """Root fields."""

    grant_role = mutation(commands.grant_role, returns=type_of(rows.RoleGrant), requires=_WRITE)
    revoke_role = mutation(commands.revoke_role, returns=type_of(rows.RoleGrant), requires=_WRITE)
