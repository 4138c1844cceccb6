"""The GraphQL types and fields for administrators: roles, the audit log, overviews and the health of the gateway."""

import strawberry

from repositories.administration import has_granted_role
from repositories.permissions import Permission, RoleName
from repositories.tables import events
from repositories.tables.identity import User
from resolvers.administration import commands, queries
from resolvers.administration.health import system_health
from schema.aggregates.list_inputs import add_condition
from schema.operations.mutation import mutation
from schema.types.connections import connection
from schema.types.derived_types import query
from schema.types.enums import publish_enum
from schema.types.filter_inputs import (
    ChoiceFilter,
    DateTimeFilter,
    IdFilter,
    TextFilter,
    UuidFilter,
    filter_input,
    where,
)

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


@filter_input(events.DomainEvent)
class AuditLogFilter:
    """Conditions on events."""

    user_id: IdFilter | None = where("The user who caused the event.", key="User")
    aggregate_type: TextFilter | None = where("The type of the object that the event is about, such as task.")
    aggregate_id: UuidFilter | None = where("The `databaseId` of the object that the event is about.")
    event_type: TextFilter | None = where("The type of the event, such as TaskCompleted.")
    timestamp: DateTimeFilter | None = where("The time of the event.")


_READ, _WRITE = Permission.ADMINISTRATION_READ, Permission.ADMINISTRATION_WRITE


@strawberry.type
class AdministrationQueries:
    roles = query(queries.roles, requires=_READ)
    audit_log = connection(queries.audit_log, requires=_READ, filter=AuditLogFilter)
    system_health = query(system_health, requires=_READ)
    users_overview = query(queries.users_overview, requires=_READ)


@strawberry.type
class AdministrationMutations:
    grant_role = mutation(commands.grant_role, requires=_WRITE)
    revoke_role = mutation(commands.revoke_role, requires=_WRITE)
