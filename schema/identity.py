"""What clients see of users."""

import datetime as dt
from typing import TYPE_CHECKING, Annotated

import strawberry

from repositories.kit.viewer import Permission
from repositories.tables import identity as rows
from resolvers import identity
from resolvers.administration.queries import roles_of_user
from schema.kit.choices import choices
from schema.kit.fields import Node, column, query, resolver, view

if TYPE_CHECKING:
    from schema.administration import Role

UserRole = choices(
    rows.UserRole, "What a user is by default.", USER="An ordinary user.", ADMIN="Sees and administers everything."
)
UserStatus = choices(
    rows.UserStatus,
    "Whether a user may sign in.",
    ACTIVE="May sign in.",
    SUSPENDED="Was locked out by an administrator.",
    DEACTIVATED="Closed the account.",
)


@view(rows.User, node=identity.user)
class User(Node):
    """A person with an account."""

    email: str = column("The e-mail address, in lower case.")
    first_name: str = column("The first name.")
    last_name: str = column("The last name.")
    role: rows.UserRole = column("What the user is by default.")
    status: rows.UserStatus = column("Whether the user may sign in.")
    email_verified: bool = column("Whether the e-mail address was confirmed.")
    avatar_url: str | None = column("The address of a picture.")
    time_zone: str = column("The IANA time zone the user lives in; it decides what “today” is.")
    locale: str = column("The language and region texts are shown in, such as en or de-AT.")
    last_login: dt.datetime | None = column("When the user last signed in.")
    roles: list[Annotated["Role", strawberry.lazy("schema.administration")]] | None = strawberry.field(
        resolver=resolver(roles_of_user.load, {}, requires=Permission.ADMINISTRATION_READ),
        description="The roles the user was granted besides, by name. For administrators.",
    )
    version: int = column("Grows with every change.")
    created_at: dt.datetime = column("When the account was made.")
    updated_at: dt.datetime = column("When it was last changed.")


@strawberry.type
class IdentityQueries:
    """Root fields."""

    viewer: User | None = query(identity.viewer, "The user who is asking; null without an Authorization header.")
