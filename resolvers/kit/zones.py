"""In which time zone the people live whom a unit of work is about."""

from collections.abc import Iterable, Mapping
from uuid import UUID
from zoneinfo import ZoneInfo

from repositories.identity import Users
from repositories.kit.calendar import time_zone
from repositories.kit.unit_of_work import UnitOfWork


async def time_zones(work: UnitOfWork, people: Iterable[UUID]) -> Mapping[UUID, ZoneInfo]:
    """Each person's zone: the viewer's from the token if it tells, the others' from their accounts, all at once."""
    wanted, known = set(people), {}
    viewer = work.viewer
    if viewer.id in wanted and viewer.time_zone is not None:
        known[viewer.id] = time_zone(viewer.time_zone)
    asked = sorted(wanted - set(known))
    accounts = await work.repository(Users).by_id(asked) if asked else {}
    return known | {key: time_zone(account.time_zone) for key, account in accounts.items()}
