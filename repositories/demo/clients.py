"""The clients and contacts of a demo user."""

import datetime as dt
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from repositories.demo.tasks import Rows
from repositories.demo.users import demo_id
from repositories.tables.client_management import ClientStatus

CLIENTS_PER_USER = 8
_MAX_CONTACTS = 3
_MAX_AGE_DAYS = 720

_NAMES = ("Northwind", "Blue Harbor", "Silver Pine", "Redwood", "Clearwater", "Granite", "Sunfield", "Ironbridge")
_BUSINESSES = ("Trading", "Logistics", "Foods", "Software", "Design", "Energy", "Textiles", "Instruments")
_INDUSTRIES = ("Retail", "Logistics", "Food", "Software", "Media", "Energy", None)
_FIRST_NAMES = ("Nora", "Oscar", "Petra", "Quentin", "Rosa", "Stefan", "Tilda", "Umberto", "Vera", "Wim")
_LAST_NAMES = ("Adler", "Brandt", "Cruz", "Duarte", "Engel", "Ferrari", "Graf", "Holm", "Ivanova", "Jung")
_POSITIONS = ("Head of purchasing", "Managing director", "Accounts payable", "Assistant", None)
_STATUSES = (ClientStatus.LEAD, ClientStatus.ACTIVE, ClientStatus.INACTIVE, ClientStatus.CHURNED)


def generate_clients(email: str, user: UUID, day: dt.date) -> tuple[Rows, Rows]:
    """Returns a user's clients and their contacts. The first contact of each client is the primary one."""
    source = Random(f"clients of {email}")  # noqa: S311 (the data must be reproducible)
    now = dt.datetime.combine(day, dt.time(), dt.UTC)
    clients = [_client(source, name, user, now) for name in _NAMES[:CLIENTS_PER_USER]]
    return clients, [
        _contact(source, client, index) for client in clients for index in range(source.randint(1, _MAX_CONTACTS))
    ]


def _client(source: Random, name: str, user: UUID, now: dt.datetime) -> dict[str, Any]:
    created = now - dt.timedelta(days=source.randint(1, _MAX_AGE_DAYS), minutes=source.randint(0, 600))
    has_details = source.random() < 0.8  # noqa: PLR2004 (the share of clients with details)
    return {
        "id": demo_id(source, created),
        "company_name": f"{name} {source.choice(_BUSINESSES)}",
        "status": source.choices(_STATUSES, (2, 5, 2, 1))[0],
        "industry": source.choice(_INDUSTRIES),
        "website": f"https://www.{_slug(name)}.example" if has_details else None,
        "annual_revenue": Decimal(source.randint(50, 90_000) * 1000) if has_details else None,
        "employee_count": source.randint(3, 900) if has_details else None,
        "created_by": user,
        "created_at": created,
        "updated_at": created,
    }


def _contact(source: Random, client: dict[str, Any], index: int) -> dict[str, Any]:
    """The number in the e-mail address makes it unique among the user's contacts."""
    first, last = source.choice(_FIRST_NAMES), source.choice(_LAST_NAMES)
    host = _slug(" ".join(client["company_name"].split()[:-1]))
    return {
        "id": demo_id(source, client["created_at"]),
        "client_id": client["id"],
        "user_id": client["created_by"],
        "first_name": first,
        "last_name": last,
        "email": f"{first}.{last}{index or ''}@{host}.example".lower(),
        "phone": f"+4930{source.randint(1_000_000, 9_999_999)}" if source.random() < 0.7 else None,  # noqa: PLR2004 (the share of contacts with a phone)
        "position": source.choice(_POSITIONS),
        "is_primary": index == 0,
        "created_at": client["created_at"],
        "updated_at": client["created_at"],
    }


def _slug(name: str) -> str:
    return name.lower().replace(" ", "-")
