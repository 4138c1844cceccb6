"""The numbers of a user's clients, compared with a computation in plain Python."""

from collections import Counter
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from repositories.client_management import Clients
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.tables.client_management import ClientStatus
from tests.factories import make_user, viewer_of
from tests.repositories.support import SharedDatabase, examples, open_snapshot

_clients = st.lists(
    st.fixed_dictionaries(
        {
            "status": st.sampled_from(ClientStatus),
            "industry": st.none() | st.sampled_from(["Tools", "tools", "Äpfel", "Food"]),
            "annual_revenue": st.none() | st.decimals(0, Decimal("9999999999999.99"), places=2),
            "deleted": st.booleans(),
        }
    ),
    max_size=12,
)


async def _compare(database: Database, rows: list[dict[str, Any]]) -> None:
    me, someone = await make_user(database), await make_user(database)
    made = [{name: value for name, value in row.items() if name != "deleted"} | {"id": new_id()} for row in rows]
    async with database.transaction(SERVICE) as write:
        for owner in (me, someone):
            owned = [{**row, "created_by": owner.id, "company_name": "Acme"} for row in made]
            added = await Clients(write).add_many(
                [{**row, "id": row["id"] if owner is me else new_id()} for row in owned]
            )
            for row, values in zip(added, rows, strict=True):
                if values["deleted"]:
                    await Clients(write).remove(row)
    alive = [row for row, values in zip(made, rows, strict=True) if not values["deleted"]]
    known = [row["annual_revenue"] for row in alive if row["annual_revenue"] is not None]
    async with open_snapshot(database, viewer_of(me)) as snapshot:
        clients = Clients(snapshot)
        by_status = Counter(row["status"] for row in alive)
        assert await clients.by_status(me.id) == [(status, by_status[status]) for status in ClientStatus]
        found = await clients.by_industry(me.id)
        assert dict(found) == Counter(row["industry"] for row in alive)
        assert found == sorted(found, key=lambda row: (row.industry is None, -row.total, row.industry))
        cent = Decimal("0.01")
        mean = (sum(known, Decimal(0)) / len(known)).quantize(cent, ROUND_HALF_UP) if known else None
        revenue = await clients.revenue(me.id)
        assert revenue == (sum(known, Decimal(0)), mean, len(known))
        assert revenue.total_revenue.as_tuple().exponent == -2
        newest = [row.id for row in await clients.newest(me.id, limit=3)]
        assert newest == sorted((row["id"] for row in alive), reverse=True)[:3]


@given(rows=_clients)
@examples(25)
def test_the_numbers_equal_a_computation_in_python(shared_database: SharedDatabase, rows: list[dict[str, Any]]) -> None:
    """Deleted clients and clients of other users are not counted."""
    shared_database.run(_compare(shared_database.database, rows))
