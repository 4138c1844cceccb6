"""Commands on partners and referrals beyond the derived ones."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, ValidationInfo

from repositories.administration import Roles
from repositories.aggregates.derived import change_of
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.clock import date_of
from repositories.core.errors import Conflict, InputError, NotFound, ValidationError
from repositories.described_enum import DescribedEnum
from repositories.identity import time_zones_of
from repositories.partnership import (
    CommissionPaid,
    Partners,
    PartnerStatusChanged,
    ReferralClosed,
    ReferralQualified,
    ReferralReopened,
    Referrals,
    ReferralSubmitted,
    commission_of,
)
from repositories.sql.aggregate import aggregates
from repositories.tables.identity import User, UserStatus
from repositories.tables.partnership import (
    CLOSED_REFERRALS,
    PARTNER_TRANSITIONS,
    Partner,
    PartnerStatus,
    Referral,
    ReferralStatus,
)
from resolvers.aggregates.derived_commands import row_command, takes
from resolvers.aggregates.derived_inputs import new_row_input, value_type
from resolvers.aggregates.handlers import lock_row
from resolvers.aggregates.rules import Rules, Values, add_rules
from resolvers.aggregates.transitions import transition
from resolvers.validation.command import locate_taken_id, raise_all
from resolvers.validation.valid_parts import reports

# partners


async def _check_dates(work: UnitOfWork, before: Partner | None, values: Values) -> Sequence[InputError]:
    """An error if the partnership would end before it starts, or if it has ended and would end later or never."""
    starts, ends = (values.get(name, getattr(before, name, None)) for name in ("started_on", "ended_on"))
    if before is not None and before.status is PartnerStatus.ENDED and "ended_on" in values:
        today = await _today(work)
        if ends is None or ends > max(today, starts or today):
            message = "This partnership has ended, so its last day must be given, and must not be in the future."
            return (ValidationError(message, path=("ended_on",)),)
    if starts is None or ends is None or starts <= ends:
        return ()
    place = "ended_on" if "ended_on" in values else "started_on"
    return (ValidationError("A partnership must not end before it starts.", path=(place,)),)


async def _reject_managers(work: UnitOfWork, users: Sequence[User]) -> Mapping[UUID, str]:
    """CONFLICT if the manager has no active account or no role that manages partners."""
    others = [user for user in users if user.id != work.viewer_id]
    granted = await work.repository(Roles).of_users([user.id for user in others]) if others else {}
    rejected: dict[UUID, str] = {}
    for user in others:
        if user.status is not UserStatus.ACTIVE:
            rejected[user.id] = "The account of this user is not active."
        elif aggregates[Partner].writers.isdisjoint({user.role.value, *(role.name for role in granted[user.id])}):
            rejected[user.id] = "This user has no role that manages partners. Grant one first (`grantRole`)."
    return rejected


_partner_rules: Rules[Partner] = Rules(check=_check_dates, references={"manager_id": _reject_managers})
add_rules(Partner, _partner_rules)


async def _errors_of_status(work: UnitOfWork, row: Partner | None, command: Any) -> list[InputError]:
    if row is None or command.status in {None, row.status, *PARTNER_TRANSITIONS[row.status]}:
        return []
    allowed = PARTNER_TRANSITIONS[row.status]
    rule = f"can become {', '.join(status.name for status in allowed)}" if allowed else "is final"
    return [Conflict(f"{row.status.name} cannot become {command.status.name}: it {rule}.", path=("status",))]


_new_status = "The new status. The descriptions of `PartnerStatus` say which one can become which."


@row_command(
    Partner,
    "The partner, and the new status of the partnership.",
    {"status": (PartnerStatus, Field(description=_new_status))},
    check=_errors_of_status,
)
async def change_partner_status(work: UnitOfWork, command: Any) -> Partner:
    """Changes the status of a partnership. A partner with this status stays as it is.

    ACTIVE sets `startedOn` to today if it is null. ENDED sets `endedOn` to today if it is null or in the future.
    Possible errors: NOT_FOUND, STALE_VERSION, CONFLICT if the status cannot change to the new one, if
    `endedOn` has passed, or if the status would become ENDED before `startedOn`.
    """
    row = await lock_row(work, Partner, command, _errors_of_status)
    if row.status is command.status:
        return row
    dates = _dates_of_status(row, command.status, await _today(work))
    changed = await work.repository(Partners).change(row, status=command.status, **dates)
    change = change_of(row, changed)
    work.record(PartnerStatusChanged(row.id, row.manager_id, row.status, changed.status, change=change))
    return changed


async def _today(work: UnitOfWork) -> dt.date:
    """The date in the viewer's time zone."""
    zones = await time_zones_of(work, [work.viewer_id])
    return date_of(work.now, zones[work.viewer_id])


def _dates_of_status(row: Partner, status: PartnerStatus, today: dt.date) -> dict[str, Any]:
    """The dates that change with the status: an active partnership has a first day, and an ended one has ended."""
    if status is PartnerStatus.ENDED:
        if row.started_on is not None and row.started_on > today:
            message = f"This partnership starts on {row.started_on}. Change `startedOn` first."
            raise Conflict(message, path=("status",))
        is_over = row.ended_on is not None and row.ended_on <= today
        return {} if is_over else {"ended_on": today}
    if row.ended_on is not None and row.ended_on < today:
        message = "The last day of this partnership has passed. Change `endedOn` first."
        raise Conflict(message, path=("status",))
    if status is PartnerStatus.ACTIVE and row.started_on is None:
        return {"started_on": today}
    return {}


# referrals


async def _check_referral(work: UnitOfWork, before: Referral | None, values: Values) -> Sequence[InputError]:
    """An error if the value of a closed referral would change."""
    if before is None or before.status not in CLOSED_REFERRALS or "value" not in values:
        return ()
    message = "The value of a closed referral cannot be changed. Reopen the referral first (`reopenReferral`)."
    return (Conflict(message, path=("value",)),)


_referral_rules: Rules[Referral] = Rules(
    check=_check_referral, errors="CONFLICT if the `value` of a closed referral would change"
)
add_rules(Referral, _referral_rules)


async def _errors_of_submission(work: UnitOfWork, command: Any) -> list[InputError]:
    return (await _find_partner(work, command))[1]


async def _find_partner(work: UnitOfWork, command: Any) -> tuple[Partner | None, list[InputError]]:
    if command.partner_id is None:
        return None, []  # the id is invalid
    partner = (await work.repository(Partners).lock_many([command.partner_id])).get(command.partner_id)
    if partner is None:
        return None, [NotFound.of("partner", path=("partner_id",))]
    has_ended = partner.ended_on is not None and partner.ended_on < await _today(work)
    if partner.status is PartnerStatus.ENDED or has_ended:
        message = "This partnership has ended; it takes no more referrals."
        return None, [Conflict(message, path=("partner_id",))]
    return partner, []


@reports(_errors_of_submission)
@takes(new_row_input(aggregates[Referral], "SubmitReferral", "A client that a partner refers."))
async def submit_referral(work: UnitOfWork, command: Any) -> Referral:
    """Creates a referral of a partner.

    Possible errors: VALIDATION_ERROR, NOT_FOUND if the partner does not exist, CONFLICT if the partnership has ended,
    by `status` or `endedOn`, or the `databaseId` is taken.
    """
    partner, errors = await _find_partner(work, command)
    raise_all(errors)
    assert partner is not None  # noqa: S101 (otherwise there is an error)
    values = command.model_dump(exclude={"database_id"}) | {
        "id": command.database_id,
        "created_at": work.now,
        "updated_at": work.now,
    }
    with locate_taken_id("database_id"):
        referral = await work.repository(Referrals).add(**values)
    work.record(ReferralSubmitted(referral.id, partner.manager_id, partner.id))
    return referral


def _closed_errors(row: Referral, field: str) -> list[InputError]:
    if row.status not in CLOSED_REFERRALS:
        return []
    message = f"This referral is closed: it is {row.status.name}. Reopen it first (`reopenReferral`)."
    return [Conflict(message, path=(field,))]


@transition(
    Referral,
    ReferralQualified,
    "The SUBMITTED referral that is worth pursuing.",
    errors="CONFLICT if the referral is closed",
)
def qualify_referral(work: UnitOfWork, referral: Referral) -> Values:
    """Changes the status of a SUBMITTED referral to QUALIFIED. A QUALIFIED referral stays as it is."""
    raise_all(_closed_errors(referral, "status"))
    return {"status": ReferralStatus.QUALIFIED}


class ReferralOutcome(DescribedEnum):
    """How a referral ends."""

    WON = "won", "It became a client."
    LOST = "lost", "It did not become a client."


def _check_value(value: Decimal | None, info: ValidationInfo) -> Decimal | None:
    """Requires a value exactly if the outcome, which is validated before, is WON."""
    outcome = (info.data or {}).get("outcome")
    if outcome is ReferralOutcome.WON and value is None:
        message = "Say what the won referral is worth"
        raise ValueError(message)
    if outcome is ReferralOutcome.LOST and value is not None:
        message = "A lost referral has no value"
        raise ValueError(message)
    return value


_final_value = "The final value with at most two decimals: required if it was won, not allowed if it was lost."


async def _errors_of_closing(work: UnitOfWork, row: Referral | None, command: Any) -> list[InputError]:
    return [] if row is None else _closed_errors(row, "outcome")


@row_command(
    Referral,
    "How a SUBMITTED or QUALIFIED referral ended.",
    {
        "outcome": (ReferralOutcome, Field(description="Whether it was won or lost.")),
        "value": (
            Annotated[value_type(Referral.value, None) | None, AfterValidator(_check_value)],
            Field(None, validate_default=True, description=_final_value),
        ),
    },
    check=_errors_of_closing,
)
async def close_referral(work: UnitOfWork, command: Any) -> Referral:
    """Closes a referral. A won one earns its partner a commission: value × rate, rounded half up to two decimals.

    Possible errors: VALIDATION_ERROR, NOT_FOUND if the referral or its partner does not exist, STALE_VERSION, CONFLICT
    if the referral is closed.
    """
    row = await lock_row(work, Referral, command, _errors_of_closing)
    partner = await work.repository(Partners).get(row.partner_id)
    status = ReferralStatus[command.outcome.name]
    values: dict[str, Any] = {"status": status, "closed_at": work.now}
    if command.value is not None:
        values |= {"value": command.value, "commission": commission_of(command.value, partner.commission_rate)}
    changed = await work.repository(Referrals).change(row, **values)
    value, commission = values.get("value"), values.get("commission")
    change = change_of(row, changed)
    work.record(ReferralClosed(row.id, partner.manager_id, partner.id, status, value, commission, change=change))
    return changed


@transition(
    Referral, ReferralReopened, "The WON or LOST referral to reopen.", errors="CONFLICT if the commission was paid"
)
def reopen_referral(work: UnitOfWork, referral: Referral) -> Values:
    """Changes the status of a closed referral to QUALIFIED and removes its commission. An open one stays as it is.

    The value stays, as an estimate.
    """
    if referral.status not in CLOSED_REFERRALS:
        return {}
    if referral.commission_paid_at is not None:
        raise Conflict("The commission of this referral was paid, so it cannot be reopened.", path=("id",))
    return {"status": ReferralStatus.QUALIFIED, "commission": None, "closed_at": None}


@transition(
    Referral,
    CommissionPaid,
    "The WON referral whose commission was paid.",
    errors="CONFLICT if the status is not WON",
)
def pay_commission(work: UnitOfWork, referral: Referral) -> Values:
    """Records that the commission of a won referral was paid. A referral whose commission was paid stays as it is."""
    if referral.commission is None:
        message = f"Only WON referrals have a commission. This one is {referral.status.name}."
        raise Conflict(message, path=("id",))
    return {"commission_paid_at": referral.commission_paid_at or work.now}
