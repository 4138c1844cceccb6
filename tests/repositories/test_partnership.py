"""The numbers of partnerships equal a computation in plain Python, and every status can be reached."""

import datetime as dt
from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repositories.core.encryption import DecryptionError
from repositories.core.errors import InputError, ValidationError
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.partnership import (
    Partners,
    Referrals,
    ReferralTally,
    commission_of,
)
from repositories.permissions import RoleName
from repositories.tables.partnership import (
    PARTNER_TRANSITIONS,
    REFERRAL_TRANSITIONS,
    Partner,
    PartnerStatus,
    Referral,
    ReferralStatus,
)
from tests.factories import make_partner, make_referral, make_user, viewer_of
from tests.repositories.support import SharedDatabase, examples, fold, open_snapshot

AT = dt.datetime(2026, 6, 15, tzinfo=dt.UTC)
TODAY = dt.date(2026, 6, 15)
OUTSIDE = "This value is not allowed: check its length, range and format."

money = st.decimals(0, Decimal("9999999999999.99"), places=2)
rates = st.decimals(0, 1, places=4)


@st.composite
def _referrals(draw: st.DrawFn) -> dict[str, Any]:
    status = draw(st.sampled_from(ReferralStatus))
    value = draw(money) if status is ReferralStatus.WON else draw(st.none() | money)
    return {
        "status": status,
        "value": value,
        "commission": draw(money) if status is ReferralStatus.WON else None,
        "commission_paid_at": draw(st.sampled_from([None, AT])) if status is ReferralStatus.WON else None,
        "closed_at": AT if status in {ReferralStatus.WON, ReferralStatus.LOST} else None,
    }


_partners = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["acme", "Acme", "Beta", "Ärger", "Zett"]),
        "status": st.sampled_from(PartnerStatus),
        "deleted_at": st.sampled_from([None, None, AT]),
        "started_on": st.sampled_from([None, dt.date(2026, 6, 14), TODAY, dt.date(2026, 6, 16)]),
        "ended_on": st.sampled_from([None, dt.date(2026, 6, 16), dt.date(2026, 6, 17)]),
        "referrals": st.lists(_referrals(), max_size=5),
    }
)


async def _check_numbers(database: Database, rows: list[dict[str, Any]], limit: int) -> None:
    manager = await make_user(database)
    partners: list[Partner] = []
    referrals: list[Referral] = []
    for row in rows:
        given_values = {name: value for name, value in row.items() if name != "referrals"}
        partners.append(await make_partner(database, manager, **given_values))
        referrals += [await make_referral(database, partners[-1], **each) for each in row["referrals"]]
    try:
        won = [row for row in referrals if row.status is ReferralStatus.WON]
        counts = Counter(row.status for row in referrals)
        worth = sum((row.value or Decimal(0) for row in won), Decimal("0.00"))
        earned = sum((row.commission or Decimal(0) for row in won), Decimal("0.00"))
        paid = sum((row.commission or Decimal(0) for row in won if row.commission_paid_at), Decimal("0.00"))
        tally = ReferralTally._make([*(counts[status] for status in ReferralStatus), worth, earned - paid, paid])
        standings = []
        for partner in partners:
            own = [row for row in won if row.partner_id == partner.id]
            if own and partner.deleted_at is None:
                value = sum((row.value or Decimal(0) for row in own), Decimal(0))
                commission = sum((row.commission or Decimal(0) for row in own), Decimal(0))
                standings.append((partner, len(own), value, commission))
        standings.sort(key=lambda each: (-each[2], fold(each[0].name), each[0].id.bytes))
        async with open_snapshot(database, viewer_of(new_id(), RoleName.PARTNERSHIP_MANAGER)) as snapshot:
            found = await Referrals(snapshot).tally()
            assert found == tally
            exact = Decimal(100 * len(won)) / Decimal(len(referrals) or 1)
            assert found.conversion_rate == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)
            active = [
                row
                for row in partners
                if row.status is PartnerStatus.ACTIVE
                and row.deleted_at is None
                and (row.started_on or TODAY) <= TODAY <= (row.ended_on or TODAY)
            ]
            assert await Partners(snapshot).active(TODAY) == len(active)
            assert await Partners(snapshot).top(limit) == standings[:limit]
        async with open_snapshot(database, viewer_of(new_id())) as snapshot:
            assert await Referrals(snapshot).tally() == ReferralTally(0, 0, 0, 0, Decimal(0), Decimal(0), Decimal(0))
            assert await Partners(snapshot).active(TODAY) == 0
            assert await Partners(snapshot).top(limit) == []
    finally:
        async with database.transaction(SERVICE) as write:
            for referral in referrals:
                await Referrals(write).purge(referral.id)
            for partner in partners:
                await Partners(write).purge(partner.id)


def test_the_dashboard_equals_a_computation_in_python(shared_database: SharedDatabase) -> None:
    """Managers see all numbers, other users see zeros."""

    @examples(40)
    @given(st.lists(_partners, max_size=5), st.integers(1, 3))
    def check(rows: list[dict[str, Any]], limit: int) -> None:
        shared_database.run(_check_numbers(shared_database.database, rows, limit))

    check()


@examples(300)
@given(money, rates)
def test_a_commission_is_rounded_half_up_to_cents(value: Decimal, rate: Decimal) -> None:
    """The expected value is computed with integers: cents × ten-thousandths, plus half of the divisor, divided."""
    product = int(value * 100) * int(rate * 10_000)
    assert commission_of(value, rate) == Decimal((product + 5_000) // 10_000).scaleb(-2)
    assert commission_of(value, rate).as_tuple().exponent == -2


def test_a_commission_of_half_a_cent_is_rounded_up() -> None:
    assert commission_of(Decimal("0.10"), Decimal("0.05")) == Decimal("0.01")
    assert commission_of(Decimal("0.30"), Decimal("0.05")) == Decimal("0.02")
    assert commission_of(Decimal("9999999999999.99"), Decimal(1)) == Decimal("9999999999999.99")


def test_every_status_has_transitions_and_can_be_reached() -> None:
    """Each status is reachable from the first one, and none is its own successor."""
    for table, first in (
        (PARTNER_TRANSITIONS, PartnerStatus.PROSPECT),
        (REFERRAL_TRANSITIONS, ReferralStatus.SUBMITTED),
    ):
        transitions: Any = table
        assert set(transitions) == set(type(first))
        reached, waiting = {first}, [first]
        while waiting:
            following = [status for status in transitions[waiting.pop()] if status not in reached]
            reached.update(following)
            waiting += following
        assert reached == set(type(first))
        assert all(status not in following for status, following in transitions.items())


_INVALID_PARTNERS: list[tuple[dict[str, Any], str]] = [
    ({"name": ""}, "name"),
    ({"name": "x" * 256}, "name"),
    ({"kind": "friend"}, "kind"),
    ({"status": "lost"}, "status"),
    ({"website": ""}, "website"),
    ({"website": "x" * 256}, "website"),
    ({"commission_rate": Decimal("-0.0001")}, "commission_rate"),
    ({"commission_rate": Decimal("1.0001")}, "commission_rate"),
    ({"started_on": dt.date(2026, 2, 1), "ended_on": dt.date(2026, 1, 31)}, "ended_on"),
    ({"notes": "x" * 10_001}, "notes"),
]
_INVALID_REFERRALS: list[tuple[dict[str, Any], str]] = [
    ({"client_name": ""}, "client_name"),
    ({"client_name": "x" * 256}, "client_name"),
    ({"status": "perhaps"}, "status"),
    ({"value": Decimal("-0.01")}, "value"),
    ({"status": "won", "commission": 1, "closed_at": AT}, "value"),
    ({"status": "won", "value": 1, "closed_at": AT}, "commission"),
    ({"status": "lost", "commission": 1, "closed_at": AT}, "commission"),
    ({"commission_paid_at": AT}, "commission_paid_at"),
    ({"status": "won", "value": 1, "commission": -1, "closed_at": AT}, "commission"),
    ({"status": "lost"}, "closed_at"),
    ({"status": "qualified", "closed_at": AT}, "closed_at"),
]


async def test_the_database_enforces_the_bounds_of_the_inputs(database: Database) -> None:
    manager = await make_user(database)
    partner = await make_partner(database, manager)
    for make, owner, cases in (
        (make_partner, manager, _INVALID_PARTNERS),
        (make_referral, partner, _INVALID_REFERRALS),
    ):
        insert: Any = make
        for values, field in cases:
            with pytest.raises(InputError) as caught:
                await insert(database, owner, **values)
            assert (type(caught.value), caught.value.message, caught.value.path) == (ValidationError, OUTSIDE, (field,))
    for rate in (Decimal(0), Decimal(1), Decimal("0.0001")):
        assert (await make_partner(database, manager, commission_rate=rate)).commission_rate == rate


async def test_an_address_is_encrypted_for_its_row(database: Database) -> None:
    """Every way of writing encrypts it, and it cannot be decrypted as the address of another row."""
    manager = await make_user(database)
    address = "ada@partner.example"
    partner = await make_partner(database, manager, contact_email=address)
    cipher, column = database.cipher, Partner.contact_email
    assert partner.contact_email is not None
    assert address not in partner.contact_email
    assert cipher.decrypt(column, partner.id, partner.contact_email) == address
    with pytest.raises(DecryptionError):
        cipher.decrypt(column, new_id(), partner.contact_email)
    async with database.transaction(SERVICE) as write:
        changed = await Partners(write).change(partner, contact_email="bob@partner.example")
        (again,) = await Partners(write).change_many([(changed, {"contact_email": address})])
        cleared = await Partners(write).change(again, contact_email=None)
    assert changed.contact_email is not None
    assert cipher.decrypt(column, partner.id, changed.contact_email) == "bob@partner.example"
    assert again.contact_email is not None
    assert cipher.decrypt(column, partner.id, again.contact_email) == address
    assert cleared.contact_email is None
