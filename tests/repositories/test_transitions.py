"""The database allows exactly the declared changes of a status, whichever role changes it."""

from decimal import Decimal
from itertools import product
from typing import Any, NamedTuple

import pytest

from repositories.commerce.orders import Orders
from repositories.core.clock import now
from repositories.core.errors import ValidationError
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.gamification.rewards import Redemptions
from repositories.identity import Users
from repositories.partnership import Partners, Referrals
from repositories.sql.table import declared, metadata
from repositories.tables.commerce import Order
from repositories.tables.gamification import RewardRedemption
from repositories.tables.identity import User
from repositories.tables.partnership import Partner, Referral, ReferralStatus
from tests.factories import make_order, make_partner, make_redemption, make_referral, make_reward, make_user


async def _redemption(database: Database, status: Any) -> Any:
    return await make_redemption(database, await make_user(database), await make_reward(database), status=status)


async def _partner(database: Database, status: Any) -> Any:
    return await make_partner(database, await make_user(database), status=status)


async def _referral(database: Database, status: Any) -> Any:
    return await make_referral(database, await make_partner(database, await make_user(database)), **_outcome(status))


def _outcome(status: ReferralStatus) -> dict[str, Any]:
    """The columns of a referral that depend on its status."""
    is_won = status is ReferralStatus.WON
    return {
        "status": status,
        "value": Decimal(100) if is_won else None,
        "commission": Decimal(10) if is_won else None,
        "closed_at": now() if is_won or status is ReferralStatus.LOST else None,
    }


async def _order(database: Database, status: Any) -> Any:
    """With all times and an address, so that it can have every status."""
    times: Any = dict.fromkeys(("placed_at", "paid_at", "shipped_at", "canceled_at"), now())
    return await make_order(database, await make_user(database), status=status, shipping_address="{}", **times)


async def _user(database: Database, status: Any) -> Any:
    return await make_user(database, status=status)


class Subject(NamedTuple):
    repository: Any
    make: Any
    values: Any = lambda status: {"status": status}


SUBJECTS: dict[Any, Subject] = {
    RewardRedemption: Subject(Redemptions, _redemption),
    Partner: Subject(Partners, _partner),
    Order: Subject(Orders, _order),
    Referral: Subject(Referrals, _referral, _outcome),
    User: Subject(Users, _user),
}


@pytest.mark.parametrize("row", SUBJECTS, ids=lambda row: row.__name__)
async def test_a_status_changes_only_as_declared(database: Database, row: Any) -> None:
    """In particular, a refunded redemption cannot be redeemed and refunded again."""
    subject, transitions = SUBJECTS[row], declared(row.status).transitions or {}
    for before, after in product(transitions, repeat=2):
        made = await subject.make(database, before)
        is_allowed = after is before or after in transitions[before]
        try:
            async with database.transaction(SERVICE) as write:
                await subject.repository(write).change(made, **subject.values(after))
        except ValidationError as error:
            result: Any = error.path
        else:
            result = "changed"
        assert result == ("changed" if is_allowed else ("status",)), (before, after)


def test_every_column_with_transitions_is_tested() -> None:
    columns = (column for table in metadata.tables.values() for column in table.columns)
    assert {column.table.info["row"] for column in columns if declared(column).transitions} == set(SUBJECTS)
