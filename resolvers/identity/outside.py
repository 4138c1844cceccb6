"""Accounts of users who sign in with tokens of an external issuer.

They have no password in this gateway. Their roles are those of its tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from pydantic import TypeAdapter

from repositories.account_messages import AccountTokens, EmailReleased
from repositories.aggregates.unit_of_work import Reaction, UnitOfWork, open_unit_of_work
from repositories.core.errors import ValidationError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import UserProvisioned, Users, placeholder_email, roles_of
from repositories.permissions import RoleName
from repositories.sql.table import declared
from repositories.tables.identity import User, UserStatus
from resolvers.validation.command import Email

_EMAIL: TypeAdapter[str] = TypeAdapter(Email)
_NAME_LENGTH: Any = declared(User.first_name).length
_PROVISION_ATTEMPTS = 2
"""The first one fails if another account gets the same e-mail address at the same moment."""


async def account_of(
    database: Database, reactions: Sequence[Reaction], issuer: str, claims: Mapping[str, Any]
) -> tuple[User, frozenset[RoleName]]:
    """The account of a verified subject and its roles. Creates the account for the first token of the subject.

    Raises a ValidationError if the account is not active or has a password of this gateway. Accounts are never linked
    by an e-mail address.
    """
    key = account_key(issuer, claims["sub"])
    found = await _stored(database, key)
    for _ in range(_PROVISION_ATTEMPTS):
        if found is not None:
            break
        await _provision(database, reactions, key, claims)
        found = await _stored(database, key)
    if found is None or found[0].status is not UserStatus.ACTIVE or found[0].password_hash is not None:
        raise ValidationError("This account may not sign in.")
    return found


def account_key(issuer: str, subject: str) -> UUID:
    """The subject itself if it is a UUID in its usual form, else a UUID that follows from issuer and subject."""
    try:
        key = UUID(subject)
    except ValueError:
        key = None
    return key if key is not None and str(key) == subject.lower() else uuid5(NAMESPACE_URL, f"{issuer}#{subject}")


async def _stored(database: Database, key: UUID) -> tuple[User, frozenset[RoleName]] | None:
    async with database.snapshot(SERVICE) as snapshot:
        user = (await Users(snapshot).by_id([key])).get(key)
        return None if user is None else (user, await roles_of(snapshot, user))


async def _provision(database: Database, reactions: Sequence[Reaction], key: UUID, claims: Mapping[str, Any]) -> None:
    """Creates the account, unless another request has just created it.

    If another account has the e-mail address, the new account gets the address only if the issuer has verified it and
    the other account has not. Otherwise it gets a placeholder. Nothing else of the other account changes.
    """
    values = _values_of(key, claims)
    async with open_unit_of_work(database, SERVICE, reactions) as work:
        holder = await work.repository(Users).lock_holder(values["email"])
        if holder is not None and values["email_verified"] and not holder.email_verified:
            await _release_email(work, holder)
        elif holder is not None:
            values |= {"email": placeholder_email(key), "email_verified": False}
        if key in await work.repository(Users).add_missing([values]):
            work.record(UserProvisioned(key, key))


async def _release_email(work: UnitOfWork, holder: User) -> None:
    """Replaces the address of an account by a placeholder. Tokens that were sent to the address become invalid."""
    released = await work.repository(Users).release_email(holder, work.now)
    await work.repository(AccountTokens).revoke_all(holder.id, work.now)
    work.record_changed(holder, released, EmailReleased)


def _values_of(key: UUID, claims: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the columns, as far as they follow from the claims.

    The address counts as verified only if the issuer's claim ``email_verified`` says so.
    """
    try:
        email = _EMAIL.validate_python(claims.get("email"))
    except ValueError:
        email = placeholder_email(key)
    first, last = _names(claims, email)
    return {
        "id": key,
        "email": email,
        "email_verified": claims.get("email_verified") is True,
        "first_name": first,
        "last_name": last,
    }


def _names(claims: Mapping[str, Any], email: str) -> tuple[str, str]:
    metadata = claims.get("user_metadata")
    told = {**claims, **(metadata if isinstance(metadata, dict) else {})}
    *given, family = str(told.get("full_name") or told.get("name") or "").split() or [""]
    first = (told.get("given_name"), told.get("first_name"), " ".join(given) or family, email.partition("@")[0], "New")
    last = (told.get("family_name"), told.get("last_name"), family if given else "", "User")
    return next(_fitting(first)), next(_fitting(last))


def _fitting(names: Sequence[Any]) -> Iterator[str]:
    shortest, longest = _NAME_LENGTH
    for name in names:
        text = "".join(filter(str.isprintable, name)).strip()[:longest] if isinstance(name, str) else ""
        if len(text) >= shortest:
            yield text
