"""What can be done with partners and referrals.

Permissions and policies say who may; a partner has a manager, whom its events are booked on, but no owner.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

from pydantic import Field, StringConstraints, ValidationInfo, field_validator
from strawberry import Maybe

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.clock import date_of
from repositories.core.errors import Conflict, InputError, NotFound, ValidationError
from repositories.identity import Users, time_zones_of
from repositories.partnership import (
    CommissionPaid,
    PartnerCreated,
    Partners,
    PartnerStatusChanged,
    PartnerUpdated,
    ReferralClosed,
    ReferralQualified,
    Referrals,
    ReferralSubmitted,
    commission_of,
)
from repositories.tables.partnership import (
    PARTNER_TRANSITIONS,
    REFERRAL_TRANSITIONS,
    Partner,
    PartnerKind,
    PartnerStatus,
    Referral,
    ReferralStatus,
)
from resolvers.validation.command import (
    Command,
    Date,
    Email,
    Storable,
    Version,
    Visible,
    WebAddress,
    changed_fields,
    check_version,
    locate_taken_id,
    provided_fields,
    raise_all,
)
from resolvers.validation.global_ids import GlobalKey
from resolvers.validation.valid_parts import reports

PartnerKey = Annotated[UUID, GlobalKey("Partner")]
ReferralKey = Annotated[UUID, GlobalKey("Referral")]
UserKey = Annotated[UUID, GlobalKey("User")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255), Visible]
Notes = Annotated[str, StringConstraints(max_length=10_000), Storable]
Rate = Annotated[Decimal, Field(ge=0, le=1, decimal_places=4)]
Money = Annotated[Decimal, Field(ge=0, max_digits=15, decimal_places=2)]

_ENDS_BEFORE = "A partnership must not end before it starts"
_CHANGEABLE = (
    "name",
    "kind",
    "contact_email",
    "website",
    "commission_rate",
    "started_on",
    "ended_on",
    "notes",
    "manager_id",
)


class CreatePartner(Command):
    """A new partner; it starts as PROSPECT."""

    name: Name
    """Its name, 1 to 255 characters."""
    kind: PartnerKind
    """What it does."""
    contact_email: Email | None = None
    """Where to write to."""
    website: WebAddress | None = None
    """Its address on the web, at most 255 characters."""
    commission_rate: Rate
    """Its share of what it brings in, from 0 to 1 with at most four decimals: 0.125 is 12.5 %."""
    started_on: Date | None = None
    """The first day of the partnership."""
    ended_on: Date | None = None
    """The last day of the partnership, not before the first."""
    notes: Notes | None = None
    """What else is to be known, at most 10,000 characters."""
    manager_id: UserKey | None = None
    """The user who looks after it, by default the viewer. Only admins can name others."""
    database_id: UUID | None = None
    """A UUID for the new partner, for clients that make ids themselves; by default the gateway makes one."""

    @field_validator("ended_on")
    @classmethod
    def _ends_after_it_starts(cls, value: dt.date | None, info: ValidationInfo) -> dt.date | None:
        if value is not None and (started := info.data.get("started_on")) is not None and value < started:
            raise ValueError(_ENDS_BEFORE)
        return value


class UpdatePartner(Command):
    """Changes of a partner; what is left out stays as it is."""

    id: PartnerKey
    """The partner."""
    version: Version
    """The version that was seen; if the partner has another by now, nothing is changed."""
    name: Maybe[Name]
    """Its name, 1 to 255 characters."""
    kind: Maybe[PartnerKind]
    """What it does."""
    contact_email: Maybe[Email | None]
    """Where to write to; null removes it."""
    website: Maybe[WebAddress | None]
    """Its address on the web, at most 255 characters; null removes it."""
    commission_rate: Maybe[Rate]
    """Its share of what it brings in, from 0 to 1; referrals that are closed already keep their commission."""
    started_on: Maybe[Date | None]
    """The first day of the partnership; null removes it."""
    ended_on: Maybe[Date | None]
    """The last day of the partnership, not before the first; null removes it."""
    notes: Maybe[Notes | None]
    """What else is to be known, at most 10,000 characters; null removes it."""
    manager_id: Maybe[UserKey]
    """The user who looks after it. Only admins can name others than themselves."""


class ChangePartnerStatus(Command):
    """Where a partnership is to stand from now on.

    PROSPECT may become ACTIVE or ENDED, ACTIVE may become PAUSED or ENDED, PAUSED may become ACTIVE or ENDED, and
    ENDED stays. Becoming ACTIVE sets `startedOn` to today if it is empty. Becoming ENDED sets `endedOn` to today if it
    is empty or later.
    """

    id: PartnerKey
    """The partner."""
    version: Version | None = None
    """The version that was seen; if given and the partner has another by now, nothing is changed."""
    status: PartnerStatus
    """Where it is to stand."""


class SubmitReferral(Command):
    """A client that a partner brings."""

    partner_id: PartnerKey
    """The partner, whose partnership must not have ended, by its status or by `endedOn`."""
    client_name: Name
    """Who the client is, 1 to 255 characters."""
    value: Money | None = None
    """What it may be worth, with at most two decimals."""
    database_id: UUID | None = None
    """A UUID for the new referral, for clients that make ids themselves; by default the gateway makes one."""


class QualifyReferral(Command):
    """The referral that is worth pursuing."""

    id: ReferralKey
    """The referral, which is SUBMITTED."""
    version: Version | None = None
    """The version that was seen; if given and the referral has another by now, nothing is changed."""


class ReferralOutcome(StrEnum):
    """How a referral ends."""

    WON = "won"
    LOST = "lost"


class CloseReferral(Command):
    """How an open referral ended."""

    id: ReferralKey
    """The referral, which is SUBMITTED or QUALIFIED."""
    version: Version | None = None
    """The version that was seen; if given and the referral has another by now, nothing is changed."""
    outcome: ReferralOutcome
    """Whether it was won or lost."""
    value: Annotated[Money | None, Field(validate_default=True)] = None
    """What it is worth: needed if it was won, not allowed if it was lost."""

    @field_validator("value")
    @classmethod
    def _goes_with_the_outcome(cls, value: Decimal | None, info: ValidationInfo) -> Decimal | None:
        outcome = info.data.get("outcome")
        if outcome is ReferralOutcome.WON and value is None:
            message = "Say what the won referral is worth"
            raise ValueError(message)
        if outcome is ReferralOutcome.LOST and value is not None:
            message = "A lost referral has no value"
            raise ValueError(message)
        return value


class PayCommission(Command):
    """The referral whose commission the partner has got."""

    id: ReferralKey
    """The referral, which is WON."""
    version: Version | None = None
    """The version that was seen; if given and the referral has another by now, nothing is changed."""


# partners


async def _errors_of_new_partner(work: UnitOfWork, command: CreatePartner) -> Sequence[InputError]:
    return await _missing_manager(work, command.manager_id or work.viewer_id)


@reports(_errors_of_new_partner)
async def create_partner(work: UnitOfWork, command: CreatePartner) -> Partner:
    """Enters a partner."""
    manager = command.manager_id or work.viewer_id
    raise_all(await _missing_manager(work, manager))
    values = command.model_dump(exclude={"database_id"}) | {"id": command.database_id, "manager_id": manager}
    with locate_taken_id("database_id"):
        partner = await work.repository(Partners).add(**values)
    work.record(PartnerCreated(partner.id, partner.manager_id, partner.kind))
    return partner


async def _errors_of_changed_partner(work: UnitOfWork, command: UpdatePartner) -> Sequence[InputError]:
    if command.id is None:
        return ()  # the id is invalid
    row = check_version(await work.repository(Partners).lock(command.id), command.version)
    return await _wrong_changes(work, row, changed_fields(work, row, provided_fields(command, *_CHANGEABLE)))


async def _wrong_changes(work: UnitOfWork, row: Partner, values: Mapping[str, Any]) -> Sequence[InputError]:
    refusals = list(_wrong_dates(row, values))
    if "manager_id" in values:
        refusals += await _missing_manager(work, values["manager_id"])
    return refusals


@reports(_errors_of_changed_partner)
async def update_partner(work: UnitOfWork, command: UpdatePartner) -> Partner:
    """Changes a partner, if it still has the version that was seen."""
    row = check_version(await work.repository(Partners).lock(command.id), command.version)
    values = changed_fields(work, row, provided_fields(command, *_CHANGEABLE))
    raise_all(await _wrong_changes(work, row, values))
    if not values:
        return row
    changed = await work.repository(Partners).change(row, **values)
    work.record(PartnerUpdated(changed.id, changed.manager_id, tuple(sorted(values))))
    return changed


def _wrong_dates(row: Partner, values: Mapping[str, Any]) -> Sequence[InputError]:
    starts, ends = (values.get(name, getattr(row, name)) for name in ("started_on", "ended_on"))
    if starts is None or ends is None or starts <= ends:
        return ()
    place = "ended_on" if "ended_on" in values else "started_on"
    return (ValidationError(f"{_ENDS_BEFORE}.", path=(place,)),)


async def _missing_manager(work: UnitOfWork, manager: UUID) -> Sequence[InputError]:
    """A refusal if it is nobody whom the viewer may see."""
    if manager == work.viewer_id or await work.repository(Users).exists(manager):
        return ()
    return (NotFound.of("user", path=("manager_id",)),)


async def change_partner_status(work: UnitOfWork, command: ChangePartnerStatus) -> Partner:
    """Moves a partnership on to another status; one that stands there already stays as it is."""
    row = check_version(await work.repository(Partners).lock(command.id), command.version)
    if row.status is command.status:
        return row
    _check_transition(PARTNER_TRANSITIONS, row.status, command.status)
    dates = _dates_of_status(row, command.status, await _today(work))
    changed = await work.repository(Partners).change(row, status=command.status, **dates)
    work.record(PartnerStatusChanged(row.id, row.manager_id, row.status, changed.status))
    return changed


async def _today(work: UnitOfWork) -> dt.date:
    """The date in the viewer's time zone."""
    zones = await time_zones_of(work, [work.viewer_id])
    return date_of(work.now, zones[work.viewer_id])


def _dates_of_status(row: Partner, status: PartnerStatus, today: dt.date) -> dict[str, Any]:
    """The dates that change with the status: an active partnership has started, and an ended one has ended."""
    if status is PartnerStatus.ENDED:
        is_over = row.ended_on is not None and row.ended_on <= today
        return {} if is_over else {"ended_on": max(today, row.started_on or today)}
    if row.ended_on is not None and row.ended_on < today:
        message = "The last day of this partnership has passed. Change `endedOn` first."
        raise Conflict(message, path=("status",))
    if status is PartnerStatus.ACTIVE and row.started_on is None:
        return {"started_on": today}
    return {}


# referrals


async def submit_referral(work: UnitOfWork, command: SubmitReferral) -> Referral:
    """Enters a client that a partner brings."""
    partner = (await work.repository(Partners).lock_many([command.partner_id])).get(command.partner_id)
    if partner is None:
        raise NotFound.of("partner", path=("partner_id",))
    has_ended = partner.ended_on is not None and partner.ended_on < await _today(work)
    if partner.status is PartnerStatus.ENDED or has_ended:
        message = "This partnership has ended; it takes no more referrals."
        raise Conflict(message, path=("partner_id",))
    values = command.model_dump(exclude={"database_id"}) | {"id": command.database_id, "created_at": work.now}
    with locate_taken_id("database_id"):
        referral = await work.repository(Referrals).add(**values)
    work.record(ReferralSubmitted(referral.id, partner.manager_id, partner.id))
    return referral


async def qualify_referral(work: UnitOfWork, command: QualifyReferral) -> Referral:
    """Marks a referral as worth pursuing; one that is qualified already stays as it is."""
    row = check_version(await work.repository(Referrals).lock(command.id), command.version)
    if row.status is ReferralStatus.QUALIFIED:
        return row
    _check_transition(REFERRAL_TRANSITIONS, row.status, ReferralStatus.QUALIFIED)
    partner = await work.repository(Partners).get(row.partner_id)
    changed = await work.repository(Referrals).change(row, status=ReferralStatus.QUALIFIED)
    work.record(ReferralQualified(row.id, partner.manager_id, partner.id))
    return changed


async def close_referral(work: UnitOfWork, command: CloseReferral) -> Referral:
    """Closes a referral. One that was won earns its partner a commission: value × rate, rounded half up to cents."""
    row = check_version(await work.repository(Referrals).lock(command.id), command.version)
    status = ReferralStatus(command.outcome)
    _check_transition(REFERRAL_TRANSITIONS, row.status, status, path=("outcome",))
    partner = await work.repository(Partners).get(row.partner_id)
    values: dict[str, Any] = {"status": status, "closed_at": work.now}
    if command.value is not None:
        values |= {"value": command.value, "commission": commission_of(command.value, partner.commission_rate)}
    changed = await work.repository(Referrals).change(row, **values)
    work.record(
        ReferralClosed(row.id, partner.manager_id, partner.id, status, values.get("value"), values.get("commission"))
    )
    return changed


async def pay_commission(work: UnitOfWork, command: PayCommission) -> Referral:
    """Records that the commission of a won referral was paid. One that was paid already stays as it is."""
    row = check_version(await work.repository(Referrals).lock(command.id), command.version)
    if row.commission is None:
        message = f"{row.status.name} referrals have no commission; only WON ones have one."
        raise Conflict(message, path=("id",))
    if row.commission_paid_at is not None:
        return row
    partner = await work.repository(Partners).get(row.partner_id)
    changed = await work.repository(Referrals).change(row, commission_paid_at=work.now)
    work.record(CommissionPaid(row.id, partner.manager_id, partner.id, row.commission))
    return changed


Status = TypeVar("Status", PartnerStatus, ReferralStatus)


def _check_transition(
    allowed: Mapping[Status, Sequence[Status]], before: Status, after: Status, path: tuple[str, ...] = ("status",)
) -> None:
    """Refuses a status that may not follow, and says which may."""
    if after in allowed[before]:
        return
    names = ", ".join(status.name for status in allowed[before])
    what = f"can become {names}" if names else "is final"
    raise Conflict(f"{before.name} cannot become {after.name}: it {what}.", path=path)
