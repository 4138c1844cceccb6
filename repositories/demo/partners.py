"""The partners of the demo data and their referrals."""

import datetime as dt
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from repositories.demo.tasks import Rows
from repositories.demo.users import demo_id
from repositories.partnership import commission_of
from repositories.tables.partnership import PartnerKind, PartnerStatus, ReferralStatus

_NAMES = ("Alpenglow", "Bridgewater", "Cobalt", "Driftwood", "Evergreen", "Foxglove", "Goldcrest", "Hillside")
_STATUSES = (PartnerStatus.PROSPECT, PartnerStatus.ACTIVE, PartnerStatus.PAUSED, PartnerStatus.ENDED)
_CLIENTS = ("Lakeside Hotels", "Maple Clinics", "Nightjar Studios", "Oakfield Schools", "Pebble Foods", "Quay Shipping")
_MAX_REFERRALS = 9
_MAX_AGE_DAYS = 400


def generate_partners(manager: UUID, day: dt.date) -> tuple[Rows, Rows]:
    """Returns the manager's partners and their referrals at the start of ``day`` (UTC)."""
    source = Random("partners")  # noqa: S311 (the data must be reproducible)
    now = dt.datetime.combine(day, dt.time(), dt.UTC)
    partners = [_partner(source, name, manager, now) for name in _NAMES]
    return partners, [
        _referral(source, partner, now)
        for partner in partners
        if partner["status"] is not PartnerStatus.PROSPECT
        for _ in range(source.randint(1, _MAX_REFERRALS))
    ]


def _partner(source: Random, name: str, manager: UUID, now: dt.datetime) -> dict[str, Any]:
    created = now - dt.timedelta(days=source.randint(_MAX_AGE_DAYS // 2, _MAX_AGE_DAYS))
    status = source.choices(_STATUSES, (2, 5, 1, 1))[0]
    started = None if status is PartnerStatus.PROSPECT else created.date()
    return {
        "id": demo_id(source, created),
        "name": f"{name} Partners",
        "kind": source.choice(list(PartnerKind)),
        "status": status,
        "contact_email": f"partners@{name.lower()}.example",
        "website": f"https://www.{name.lower()}.example",
        "commission_rate": Decimal(source.randint(10, 60)) / 400,
        "started_on": started,
        "ended_on": now.date() if status is PartnerStatus.ENDED else None,
        "manager_id": manager,
        "created_at": created,
        "updated_at": created,
    }


def _referral(source: Random, partner: dict[str, Any], now: dt.datetime) -> dict[str, Any]:
    created = partner["created_at"] + (now - partner["created_at"]) * source.random()
    status = source.choices(list(ReferralStatus), (2, 3, 4, 2))[0]
    is_closed = status in {ReferralStatus.WON, ReferralStatus.LOST}
    value = Decimal(source.randint(20, 900) * 100)
    return {
        "id": demo_id(source, created),
        "partner_id": partner["id"],
        "client_name": source.choice(_CLIENTS),
        "status": status,
        "value": value,
        "commission": commission_of(value, partner["commission_rate"]) if status is ReferralStatus.WON else None,
        "commission_paid_at": None,
        "closed_at": created + (now - created) / 2 if is_closed else None,
        "created_at": created,
        "updated_at": created,
    }
