"""Partners, referrals and their dashboard, which only partnership managers and admins can use."""

import asyncio
import datetime as dt
import json
import logging
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio

from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.partnership import Partners, Referrals
from repositories.permissions import RoleName
from repositories.tables.identity import User, UserRole, UserStatus
from repositories.tables.partnership import PARTNER_TRANSITIONS, PartnerKind, PartnerStatus, ReferralStatus
from tests.api.client import Client, Gateway, gid, user_error
from tests.api.stored_rows import event_summaries, stored_events
from tests.api.subscribing import SubscribingProcess, take
from tests.factories import make_grant, make_partner, make_referral, make_user

AT = dt.datetime(2026, 6, 15, 12, tzinfo=dt.UTC)
NOON = "2026-06-15T12:00:00+00:00"
PARTNER = """partner { id databaseId name kind status contactEmail website commissionRate startedOn endedOn notes
    version manager { id } }"""
REFERRAL = "referral { id clientName status value commission closedAt version partner { id } }"
ADDRESS = "contact@partner.example"


@pytest_asyncio.fixture
async def manager(database: Database) -> User:
    return await make_user(database, email="manager@example.com")


@pytest.fixture
def client(gateway: Gateway, manager: User) -> Client:
    """A client of the manager. The clock of its gateway shows AT."""
    return gateway.at(AT).client(manager, RoleName.PARTNERSHIP_MANAGER)


async def stored_rows(database: Database) -> Any:
    """All partners, referrals and events."""
    snapshot = database.snapshot(SERVICE)
    try:
        return [
            sorted(await repository(snapshot).find(limit=1000), key=lambda row: row.id.bytes)
            for repository in (Partners, Referrals)
        ] + [await stored_events(database)]
    finally:
        await snapshot.close()


async def test_a_partner_is_created(gateway: Gateway, client: Client, manager: User) -> None:
    key = UUID("0195c3a4-7b1e-7c55-9d1a-2f6b1c0a9e33")
    payload = await client.do(
        "createPartner",
        PARTNER,
        name=" Acme ",
        kind="RESELLER",
        contactEmail=ADDRESS,
        website="https://acme.example/",
        commissionRate="0.125",
        startedOn="2026-01-01",
        endedOn="2026-01-01",
        notes="Met at the fair.",
        databaseId=str(key),
    )
    assert payload == {
        "partner": {
            "id": gid("Partner", key),
            "databaseId": str(key),
            "name": "Acme",
            "kind": "RESELLER",
            "status": "PROSPECT",
            "contactEmail": ADDRESS,
            "website": "https://acme.example/",
            "commissionRate": "0.1250",
            "startedOn": "2026-01-01",
            "endedOn": "2026-01-01",
            "notes": "Met at the fair.",
            "version": 1,
            "manager": {"id": gid("User", manager)},
        },
        "userErrors": [],
    }
    owner = str(manager.id)
    assert await event_summaries(gateway.database) == [
        ("PartnerCreated", "partner", key, manager.id, {"owner_id": owner, "kind": "reseller"})
    ]
    again = await client.do("createPartner", PARTNER, name="x", kind="REFERRAL", commissionRate=0, databaseId=str(key))
    taken = user_error("CONFLICT", "This databaseId is taken; make another, or leave it out.", "databaseId")
    assert again == {"partner": None, "userErrors": [taken]}


async def test_a_partner_is_changed(gateway: Gateway, client: Client, manager: User) -> None:
    """Only changed fields are recorded. An update without a change records nothing, and a stale one is rejected."""
    partner = await make_partner(gateway.database, manager, contact_email=ADDRESS, started_on=dt.date(2026, 1, 1))
    key = gid("Partner", partner)
    same = {"name": "Acme", "contactEmail": ADDRESS, "commissionRate": "0.10", "managerId": gid("User", manager)}
    before = await stored_rows(gateway.database)
    assert (await client.do("updatePartner", PARTNER, id=key, version=1, **same))["partner"]["version"] == 1
    assert await stored_rows(gateway.database) == before
    changes = {"contactEmail": "new@partner.example", "commissionRate": "0.2", "startedOn": None, "kind": "AFFILIATE"}
    payload = await client.do("updatePartner", PARTNER, id=key, version=1, **changes)
    shown = payload["partner"]
    assert {name: shown[name] for name in changes} == changes | {"commissionRate": "0.2000"}
    assert (shown["name"], shown["version"]) == ("Acme", 2)
    assert (await event_summaries(gateway.database))[-1][4] == {
        "owner_id": str(manager.id),
        "fields": ["commission_rate", "contact_email", "kind", "started_on"],
        "changes": {
            "commission_rate": ["0.1000", "0.2000"],
            "kind": ["referral", "affiliate"],
            "started_on": ["2026-01-01", None],
        },
    }
    payload = await client.do("updatePartner", "partner { id }", id=key, version=1, name="Late")
    (error,) = payload["userErrors"]
    assert (error["code"], error["field"], error["current"]) == ("STALE_VERSION", ["version"], {"id": key})


async def test_all_validation_errors_are_reported_at_once(gateway: Gateway, client: Client, manager: User) -> None:
    before = await stored_rows(gateway.database)
    payload = await client.do(
        "createPartner",
        PARTNER,
        name=" ",
        kind="REFERRAL",
        contactEmail="address",
        website="acme",
        commissionRate="1.5",
        startedOn="2026-01-02",
        endedOn="2026-01-01",
        notes="x" * 10_001,
    )
    assert {tuple(error["field"]): error["message"] for error in payload["userErrors"]} == {
        ("name",): "This must not be empty.",
        ("contactEmail",): "This is not an e-mail address.",
        ("website",): "This is not a web address; it starts with http:// or https://.",
        ("commissionRate",): "This must be 1 or less.",
        ("endedOn",): "A partnership must not end before it starts.",
        ("notes",): "This must have at most 10,000 characters.",
    }
    for rate, message in (
        ("-0.1", "This must be 0 or more."),
        ("0.00001", "This must have at most 4 digits after the point."),
    ):
        payload = await client.do("createPartner", PARTNER, name="x", kind="REFERRAL", commissionRate=rate)
        assert payload["userErrors"] == [user_error("VALIDATION_ERROR", message, "commissionRate")]
    payload = await client.do(
        "createPartner", PARTNER, name="x", kind="REFERRAL", commissionRate=0, startedOn="1899-12-31"
    )
    message = "A date must be between the years 1900 and 2200."
    assert payload["userErrors"] == [user_error("VALIDATION_ERROR", message, "startedOn")]
    assert await stored_rows(gateway.database) == before

    partner = await make_partner(
        gateway.database, manager, started_on=dt.date(2026, 1, 1), ended_on=dt.date(2026, 12, 31)
    )
    before = await stored_rows(gateway.database)
    message = "A partnership must not end before it starts."
    for changes, field in (
        ({"startedOn": "2027-01-01"}, "startedOn"),
        ({"endedOn": "2025-12-31"}, "endedOn"),
        ({"startedOn": "2027-01-02", "endedOn": "2027-01-01"}, "endedOn"),
    ):
        missing = {"managerId": gid("User", new_id())}
        payload = await client.do(
            "updatePartner", "partner { id }", id=gid("Partner", partner), version=1, **changes, **missing
        )
        assert payload["userErrors"] == [
            user_error("VALIDATION_ERROR", message, field),
            user_error("NOT_FOUND", "There is no such user.", "managerId"),
        ]
    assert await stored_rows(gateway.database) == before


async def test_a_partner_can_only_get_a_manager_whom_the_viewer_may_see(
    gateway: Gateway, client: Client, manager: User, bob: User, admin: User
) -> None:
    """Admins may choose any manager. For a partnership manager, other users are like missing ones."""
    await make_grant(gateway.database, bob, RoleName.PARTNERSHIP_MANAGER, by=admin)
    given = {"name": "x", "kind": "TECHNOLOGY", "commissionRate": 0}
    missing = [user_error("NOT_FOUND", "There is no such user.", "managerId")]
    for key in (bob.id, new_id()):
        payload = await client.do("createPartner", PARTNER, **given, managerId=gid("User", key))
        assert payload == {"partner": None, "userErrors": missing}
    created = await gateway.client(admin).do("createPartner", PARTNER, **given, managerId=gid("User", bob))
    assert created["partner"]["manager"] == {"id": gid("User", bob)}
    shown = await client.data("query($id: ID!) { partner(id: $id) { manager { id } } }", id=created["partner"]["id"])
    assert shown == {"partner": {"manager": None}}
    updated = await client.do(
        "updatePartner", PARTNER, id=created["partner"]["id"], version=1, managerId=gid("User", manager)
    )
    assert updated["partner"]["manager"] == {"id": gid("User", manager)}


NO_ROLE = "This user has no role that manages partners. Grant one first (`grantRole`)."
NOT_ACTIVE = "The account of this user is not active."


async def test_a_manager_needs_an_active_account_and_a_role(
    gateway: Gateway, manager: User, ada: User, bob: User, admin: User
) -> None:
    """Otherwise creating and changing partners is the error CONFLICT, and nothing changes."""
    database, client = gateway.database, gateway.client(admin)
    for user in (bob, manager):
        await make_grant(database, user, RoleName.PARTNERSHIP_MANAGER, by=admin)
    async with database.transaction(SERVICE) as write:
        await Users(write).change(bob, status=UserStatus.SUSPENDED)
    other_admin = await make_user(database, role=UserRole.ADMIN)
    partner = await make_partner(database, manager)
    given = {"name": "x", "kind": "TECHNOLOGY", "commissionRate": 0}
    before = await stored_rows(database)
    for user, message in ((ada, NO_ROLE), (bob, NOT_ACTIVE)):
        rejected = {"partner": None, "userErrors": [user_error("CONFLICT", message, "managerId")]}
        key = gid("User", user)
        assert await client.do("createPartner", PARTNER, **given, managerId=key) == rejected
        update = {"id": gid("Partner", partner), "version": 1, "managerId": key}
        assert await client.do("updatePartner", PARTNER, **update) == rejected
    assert await stored_rows(database) == before
    of_suspended = await make_partner(database, bob)
    kept = {"id": gid("Partner", of_suspended), "version": 1, "managerId": gid("User", bob), "name": "Renamed"}
    assert (await client.do("updatePartner", PARTNER, **kept))["partner"]["name"] == "Renamed"
    for user in (manager, other_admin, admin):
        created = await client.do("createPartner", PARTNER, **given, managerId=gid("User", user))
        assert created["partner"]["manager"] == {"id": gid("User", user)}


async def test_managers_of_several_partners_are_checked_by_one_statement(
    gateway: Gateway, ada: User, bob: User, admin: User, statements: list[str]
) -> None:
    """The errors name the partners by their indexes."""
    database, client = gateway.database, gateway.client(admin)
    managers = [await make_user(database) for _ in range(3)]
    for user in managers:
        await make_grant(database, user, RoleName.PARTNERSHIP_MANAGER, by=admin)
    given = {"name": "x", "kind": "TECHNOLOGY", "commissionRate": 0}
    rows = [given | {"managerId": gid("User", user)} for user in (managers[0], ada, managers[1], bob)]
    before = await stored_rows(database)
    payload = await client.do("createPartners", "partners { id }", partners=rows)
    errors = [user_error("CONFLICT", NO_ROLE, "partners", index, "managerId") for index in ("1", "3")]
    assert payload == {"partners": None, "userErrors": errors}
    assert await stored_rows(database) == before
    for count in (1, 3):
        rows = [given | {"managerId": gid("User", user)} for user in managers[:count]]
        statements.clear()
        payload = await client.do("createPartners", "partners { name }", partners=rows)
        assert payload == {"partners": [{"name": "x"}] * count, "userErrors": []}
        executed = [text.split()[0] for text in statements if not _is_of_transaction(text)]
        assert executed == ["SELECT", "SELECT", "INSERT", "INSERT"]


@pytest.mark.parametrize("before", PartnerStatus)
async def test_partner_status_follows_the_allowed_transitions(
    gateway: Gateway, client: Client, manager: User, before: PartnerStatus
) -> None:
    allowed = PARTNER_TRANSITIONS[before]
    for after in PartnerStatus:
        partner = await make_partner(gateway.database, manager, status=before)
        unchanged = await stored_rows(gateway.database)
        payload = await client.do(
            "changePartnerStatus", PARTNER, id=gid("Partner", partner), version=1, status=after.name
        )
        if after is before:
            assert (payload["partner"]["status"], payload["partner"]["version"]) == (before.name, 1)
            assert await stored_rows(gateway.database) == unchanged
        elif after in allowed:
            assert (payload["partner"]["status"], payload["partner"]["version"]) == (after.name, 2)
            dates = {PartnerStatus.ACTIVE: "started_on", PartnerStatus.ENDED: "ended_on"}
            date = {dates[after]: [None, "2026-06-15"]} if after in dates else {}
            data = {
                "owner_id": str(manager.id),
                "before": before.value,
                "after": after.value,
                "fields": sorted(["status", *date]),
                "changes": {"status": [before.value, after.value], **date},
            }
            assert (await event_summaries(gateway.database))[-1] == (
                "PartnerStatusChanged",
                "partner",
                partner.id,
                manager.id,
                data,
            )
        else:
            rule = f"can become {', '.join(status.name for status in allowed)}" if allowed else "is final"
            message = f"{before.name} cannot become {after.name}: it {rule}."
            assert payload == {"partner": None, "userErrors": [user_error("CONFLICT", message, "status")]}
            assert await stored_rows(gateway.database) == unchanged


async def test_a_referral_is_submitted_qualified_and_won(gateway: Gateway, client: Client, manager: User) -> None:
    partner = await make_partner(gateway.database, manager, commission_rate=Decimal("0.05"))
    given = {"partnerId": gid("Partner", partner), "clientName": " Client ", "value": "100.5"}
    created = (await client.do("submitReferral", REFERRAL, **given))["referral"]
    assert created == {
        "id": created["id"],
        "clientName": "Client",
        "status": "SUBMITTED",
        "value": "100.50",
        "commission": None,
        "closedAt": None,
        "version": 1,
        "partner": {"id": gid("Partner", partner)},
    }
    key = created["id"]
    qualified = (await client.do("qualifyReferral", REFERRAL, id=key, version=1))["referral"]
    assert (qualified["status"], qualified["version"]) == ("QUALIFIED", 2)
    assert (await client.do("qualifyReferral", REFERRAL, id=key))["referral"] == qualified
    won = (await client.do("closeReferral", REFERRAL, id=key, version=2, outcome="WON", value="0.30"))["referral"]
    assert won == qualified | {
        "status": "WON",
        "value": "0.30",
        "commission": "0.02",
        "closedAt": NOON,
        "version": 3,
    }
    for mutation, given_input, field in (
        ("qualifyReferral", {}, "status"),
        ("closeReferral", {"outcome": "LOST"}, "outcome"),
        ("closeReferral", {"outcome": "WON", "value": "5"}, "outcome"),
    ):
        message = "This referral is closed: it is WON. Reopen it first (`reopenReferral`)."
        assert await client.do(mutation, REFERRAL, id=key, **given_input) == {
            "referral": None,
            "userErrors": [user_error("CONFLICT", message, field)],
        }
    assert [(event[0], event[1], event[3], event[4]) for event in await event_summaries(gateway.database)] == [
        (name, "referral", manager.id, {"owner_id": str(manager.id), "partner_id": str(partner.id), **data})
        for name, data in (
            ("ReferralSubmitted", {}),
            ("ReferralQualified", {"fields": ["status"], "changes": {"status": ["submitted", "qualified"]}}),
            (
                "ReferralClosed",
                {
                    "status": "won",
                    "value": "0.30",
                    "commission": "0.02",
                    "fields": ["closed_at", "commission", "status", "value"],
                    "changes": {
                        "closed_at": [None, NOON],
                        "commission": [None, "0.02"],
                        "status": ["qualified", "won"],
                        "value": ["100.50", "0.30"],
                    },
                },
            ),
        )
    ]


async def test_a_referral_is_lost(gateway: Gateway, client: Client, manager: User) -> None:
    """It keeps its estimated value and has no commission."""
    partner = await make_partner(gateway.database, manager)
    referral = await make_referral(gateway.database, partner, value=Decimal(10))
    key = gid("Referral", referral)
    lost = (await client.do("closeReferral", REFERRAL, id=key, outcome="LOST"))["referral"]
    assert (lost["status"], lost["value"], lost["commission"], lost["closedAt"]) == ("LOST", "10.00", None, NOON)
    assert (await event_summaries(gateway.database))[-1][4] == {
        "owner_id": str(manager.id),
        "partner_id": str(partner.id),
        "status": "lost",
        "value": None,
        "commission": None,
        "fields": ["closed_at", "status"],
        "changes": {"closed_at": [None, NOON], "status": ["submitted", "lost"]},
    }


async def test_invalid_changes_of_referrals_are_rejected(gateway: Gateway, client: Client, manager: User) -> None:
    ended = await make_partner(gateway.database, manager, status=PartnerStatus.ENDED)
    referral = await make_referral(gateway.database, ended)
    before = await stored_rows(gateway.database)
    key = gid("Referral", referral)
    cases: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        (
            "submitReferral",
            {"partnerId": gid("Partner", ended), "clientName": "x"},
            user_error("CONFLICT", "This partnership has ended; it takes no more referrals.", "partnerId"),
        ),
        (
            "submitReferral",
            {"partnerId": gid("Partner", new_id()), "clientName": "x"},
            user_error("NOT_FOUND", "There is no such partner.", "partnerId"),
        ),
        (
            "closeReferral",
            {"id": key, "outcome": "WON"},
            user_error("VALIDATION_ERROR", "Say what the won referral is worth.", "value"),
        ),
        (
            "closeReferral",
            {"id": key, "outcome": "LOST", "value": "1"},
            user_error("VALIDATION_ERROR", "A lost referral has no value.", "value"),
        ),
        (
            "closeReferral",
            {"id": key, "outcome": "WON", "value": "0.001"},
            user_error("VALIDATION_ERROR", "This must have at most 2 digits after the point.", "value"),
        ),
        (
            "closeReferral",
            {"id": gid("Referral", new_id()), "outcome": "LOST"},
            user_error("NOT_FOUND", "There is no such referral.", "id"),
        ),
    ]
    for mutation, given, error in cases:
        payload = await client.do(mutation, "referral { id }", **given)
        assert payload == {"referral": None, "userErrors": [error]}, mutation
    changes: list[tuple[str, dict[str, Any]]] = [("qualifyReferral", {}), ("closeReferral", {"outcome": "LOST"})]
    for mutation, given in changes:
        (error,) = (await client.do(mutation, "referral { id }", id=key, version=7, **given))["userErrors"]
        assert (error["code"], error["current"]) == ("STALE_VERSION", {"id": key})
    assert await stored_rows(gateway.database) == before


async def test_concurrent_closings_of_a_referral_succeed_once(gateway: Gateway, client: Client, manager: User) -> None:
    """The commission is that of the closing that succeeds."""
    partner = await make_partner(gateway.database, manager)
    referral = await make_referral(gateway.database, partner)
    answers = await asyncio.gather(
        *(
            client.do("closeReferral", REFERRAL, id=gid("Referral", referral), outcome="WON", value=str(10 * index))
            for index in range(1, 9)
        )
    )
    (winner,) = [answer["referral"] for answer in answers if answer["referral"]]
    assert Decimal(winner["commission"]) == Decimal(winner["value"]) / 10
    assert [answer["userErrors"][0]["code"] for answer in answers if not answer["referral"]] == ["CONFLICT"] * 7
    assert [event[0] for event in await event_summaries(gateway.database)] == ["ReferralClosed"]


DASHBOARD = """{ partnershipDashboard { activePartners referralsByStatus { status total } wonValue commissionDue
    conversionRate topPartners(first: 1) { partner { name } wonReferrals wonValue commission } } }"""


async def test_the_partnership_dashboard(gateway: Gateway, client: Client, manager: User) -> None:
    nothing = (await client.data(DASHBOARD))["partnershipDashboard"]
    assert nothing == {
        "activePartners": 0,
        "referralsByStatus": [{"status": status.name, "total": 0} for status in ReferralStatus],
        "wonValue": "0.00",
        "commissionDue": "0.00",
        "conversionRate": "0.00",
        "topPartners": [],
    }
    for name, value in (("Acme", "10.00"), ("Beta", "20.10")):
        partner = await make_partner(gateway.database, manager, name=name, status=PartnerStatus.ACTIVE)
        referral = await make_referral(gateway.database, partner)
        await client.do("closeReferral", "referral { id }", id=gid("Referral", referral), outcome="WON", value=value)
    await make_referral(gateway.database, partner)
    shown = (await client.data(DASHBOARD))["partnershipDashboard"]
    assert shown == {
        "activePartners": 2,
        "referralsByStatus": [
            {"status": status.name, "total": {"won": 2, "submitted": 1}.get(status.value, 0)}
            for status in ReferralStatus
        ],
        "wonValue": "30.10",
        "commissionDue": "3.01",
        "conversionRate": "66.67",
        "topPartners": [{"partner": {"name": "Beta"}, "wonReferrals": 1, "wonValue": "20.10", "commission": "2.01"}],
    }


_TILES = {
    "activePartners": 1,
    "referralsByStatus { total }": 1,
    "wonValue": 1,
    "topPartners { partner { name } }": 1,
    "referralsByStatus { status } wonValue commissionDue conversionRate": 1,
    "activePartners referralsByStatus { total } wonValue commissionDue conversionRate topPartners { wonValue }": 3,
    "__typename": 0,
}


async def test_the_dashboard_executes_one_statement_per_tile(client: Client, statements: list[str]) -> None:
    for tiles, count in _TILES.items():
        statements.clear()
        await client.data(f"{{ partnershipDashboard {{ {tiles} }} }}")
        assert len([text for text in statements if not text.startswith("BEGIN")]) == count, tiles


def _is_of_transaction(text: str) -> bool:
    return text.split(maxsplit=1)[0] in {"BEGIN", "COMMIT"} or "pg_notify" in text


async def test_mutations_execute_exactly_these_statements(
    gateway: Gateway, client: Client, manager: User, statements: list[str]
) -> None:
    partner = await make_partner(gateway.database, manager)
    key = gid("Partner", partner)

    async def verbs(mutation: str, selection: str, **given: Any) -> tuple[Any, list[str]]:
        statements.clear()
        payload = await client.do(mutation, selection, **given)
        assert payload["userErrors"] == []
        return payload, [text.split()[0] for text in statements if not _is_of_transaction(text)]

    given = {"name": "x", "kind": "REFERRAL", "commissionRate": 0}
    assert (await verbs("createPartner", "partner { id }", **given))[1] == ["INSERT", "INSERT"]
    changed = ["SELECT", "UPDATE", "INSERT"]
    assert (await verbs("updatePartner", "partner { id }", id=key, version=1, name="y"))[1] == changed
    assert (await verbs("changePartnerStatus", "partner { id }", id=key, status="ACTIVE"))[1] == changed
    payload, executed = await verbs("submitReferral", "referral { id }", partnerId=key, clientName="x")
    assert executed == ["SELECT", "INSERT", "INSERT"]
    referral_id = payload["referral"]["id"]
    assert (await verbs("qualifyReferral", "referral { id }", id=referral_id))[1] == ["SELECT", *changed]
    assert (await verbs("closeReferral", "referral { id }", id=referral_id, outcome="LOST"))[1] == ["SELECT", *changed]
    assert (await verbs("reopenReferral", "referral { id }", id=referral_id))[1] == ["SELECT", *changed]
    assert (await verbs("updateReferral", "referral { id }", id=referral_id, version=4, value="5"))[1] == [
        "SELECT",
        *changed,
    ]
    for index in range(3):
        await make_referral(gateway.database, partner, client_name=f"Client {index}")
    rows = (await client.data("{ referrals { nodes { id version } } }"))["referrals"]["nodes"]
    referrals = [{**row, "clientName": "Same"} for row in rows]
    assert (await verbs("updateReferrals", "referrals { id }", referrals=referrals))[1] == ["SELECT", *changed]


async def test_partners_are_filtered_searched_and_sorted(gateway: Gateway, client: Client, manager: User) -> None:
    rows: dict[str, dict[str, Any]] = {
        "beta": {"kind": PartnerKind.RESELLER, "notes": "fair"},
        "Acme": {"status": PartnerStatus.ACTIVE, "commission_rate": Decimal("0.5")},
        "gamma": {"started_on": dt.date(2026, 1, 1), "website": "https://fair.example"},
    }
    for name, values in rows.items():
        await make_partner(gateway.database, manager, name=name, **values)
    document = """query($filter: PartnerFilter, $order: [PartnerOrder!]) { partners(filter: $filter, order: $order) {
        totalCount nodes { name } } }"""
    cases: list[tuple[Any, Any, list[str]]] = [
        (None, None, ["Acme", "beta", "gamma"]),
        ({"kind": {"eq": "RESELLER"}}, None, ["beta"]),
        ({"status": {"notIn": ["PROSPECT"]}}, None, ["Acme"]),
        ({"commissionRate": {"gte": "0.5"}}, None, ["Acme"]),
        ({"managerId": {"eq": gid("User", manager)}, "search": "FAIR"}, None, ["beta", "gamma"]),
        (None, [{"field": "STARTED_ON"}, {"field": "NAME", "direction": "DESC"}], ["gamma", "beta", "Acme"]),
        (None, [{"field": "COMMISSION_RATE", "direction": "DESC"}, {"field": "NAME"}], ["Acme", "beta", "gamma"]),
    ]
    for given, order, names in cases:
        page = (await client.data(document, filter=given, order=order))["partners"]
        assert ([node["name"] for node in page["nodes"]], page["totalCount"]) == (names, len(names)), given
    answer = await client.ask(document, filter={"commissionRate": {"gt": "0.00001"}})
    assert answer.codes == ["VALIDATION_ERROR"]


async def test_referrals_of_a_partner_are_filtered_searched_and_sorted(
    gateway: Gateway, client: Client, manager: User
) -> None:
    partner = await make_partner(gateway.database, manager)
    for index in range(3):
        await make_referral(
            gateway.database,
            partner,
            client_name=f"Client {index}",
            value=index or None,
            created_at=AT.replace(day=index + 1),
        )
    document = """query($id: ID!, $filter: ReferralFilter, $order: [ReferralOrder!]) { partner(id: $id) {
        referrals(first: 2, filter: $filter, order: $order) { totalCount nodes { clientName } } } }"""
    for given, order, names, total in (
        (None, None, "21", 3),
        ({"value": {"gte": "1.00"}}, [{"field": "VALUE"}], "12", 2),
        ({"search": "client 0"}, None, "0", 1),
    ):
        data = (await client.data(document, id=gid("Partner", partner), filter=given, order=order))["partner"]
        assert data["referrals"] == {
            "totalCount": total,
            "nodes": [{"clientName": f"Client {name}"} for name in names],
        }


async def test_an_address_that_cannot_be_decrypted_is_a_masked_error_of_its_field(
    gateway: Gateway, client: Client, manager: User, caplog: pytest.LogCaptureFixture
) -> None:
    """A changed ciphertext or one of another row: null, a masked error and a log line. The other fields are intact."""
    good = await make_partner(gateway.database, manager, name="a", contact_email=ADDRESS)
    moved = await make_partner(gateway.database, manager, name="b", contact_email="moved@partner.example")
    bare = await make_partner(gateway.database, manager, name="c")
    async with gateway.database.transaction(SERVICE) as write:
        text = f"UPDATE {'partnership.' if gateway.database.options.url else ''}partners SET contact_email = "
        await write.execute_sql(f"{text}'{good.contact_email}' WHERE id = '{moved.id}'")
        flipped = f"{(good.contact_email or '')[:-3]}AA="
        await write.execute_sql(f"{text}'{flipped}' WHERE id = '{bare.id}'")
    with caplog.at_level(logging.ERROR):
        answer = await client.ask("{ partners { nodes { name contactEmail } } }")
    assert answer.data["partners"]["nodes"] == [
        {"name": "a", "contactEmail": ADDRESS},
        {"name": "b", "contactEmail": None},
        {"name": "c", "contactEmail": None},
    ]
    assert answer.codes == ["INTERNAL_SERVER_ERROR"] * 2
    assert [error["path"][-2:] for error in answer.errors] == [[1, "contactEmail"], [2, "contactEmail"]]
    assert "decrypt" not in json.dumps(answer.body)
    assert f"partners.contact_email of row {moved.id} cannot be decrypted" in caplog.text
    assert ADDRESS not in caplog.text
    repaired = await client.do(
        "updatePartner", PARTNER, id=gid("Partner", moved), version=1, contactEmail="again@partner.example"
    )
    assert repaired["partner"]["contactEmail"] == "again@partner.example"


async def test_tables_and_events_contain_no_plain_address(gateway: Gateway, client: Client) -> None:
    given = {"name": "x", "kind": "REFERRAL", "commissionRate": 0, "contactEmail": ADDRESS}
    created = (await client.do("createPartner", PARTNER, **given))["partner"]
    await client.do("updatePartner", PARTNER, id=created["id"], version=1, contactEmail=f"other.{ADDRESS}")
    assert ADDRESS not in json.dumps(
        [list(map(tuple, rows)) for rows in await stored_rows(gateway.database)], default=str
    )


_QUERIES = {
    "partner(id: $id) { id name }": "Partner",
    "partners { totalCount nodes { id } }": "Partner",
    "partnershipDashboard { activePartners }": "Partner",
    "referral(id: $id) { id clientName }": "Referral",
    "referrals { totalCount nodes { id } }": "Referral",
    "node(id: $id) { id }": "Referral",
    "again: node(id: $id) { id ... on Partner { name } }": "Partner",
    "nodes(ids: [$id]) { id }": "Partner",
}


async def test_other_users_cannot_see_or_change_anything(gateway: Gateway, manager: User, ada: User) -> None:
    """The fields are FORBIDDEN. A row that is looked up by its id is NOT_FOUND, like a missing one. Nothing changes."""
    partner = await make_partner(gateway.database, manager)
    referral = await make_referral(gateway.database, partner)
    rows = {"Partner": partner.id, "Referral": referral.id}
    before = await stored_rows(gateway.database)
    for other in (gateway.client(ada),):
        for fields, type_name in _QUERIES.items():
            declared = "query($id: ID!)" if "$id" in fields else "query"
            answers = []
            for key in (rows[type_name], new_id()):
                answer = await other.ask(f"{declared} {{ {fields} }}", id=gid(type_name, key))
                answers.append(json.dumps(answer.body).replace(gid(type_name, key), "the id"))
                assert answer.codes == ["NOT_FOUND" if "(id" in fields and "node" in fields else "FORBIDDEN"], fields
            assert answers[0] == answers[1]
        for mutation, given in (
            ("createPartner", {"name": "x", "kind": "REFERRAL", "commissionRate": 0}),
            ("updatePartner", {"id": gid("Partner", partner), "version": 1, "name": "stolen"}),
            ("changePartnerStatus", {"id": gid("Partner", partner), "status": "ENDED"}),
            ("submitReferral", {"partnerId": gid("Partner", partner), "clientName": "x"}),
            ("qualifyReferral", {"id": gid("Referral", referral)}),
            ("closeReferral", {"id": gid("Referral", referral), "outcome": "LOST"}),
            ("reopenReferral", {"id": gid("Referral", referral)}),
            ("payCommission", {"id": gid("Referral", referral)}),
            ("updateReferral", {"id": gid("Referral", referral), "version": 1, "clientName": "stolen"}),
            ("updateReferrals", {"referrals": [{"id": gid("Referral", referral), "version": 1, "value": "1"}]}),
            ("deletePartner", {"id": gid("Partner", partner)}),
            ("restorePartner", {"id": gid("Partner", partner)}),
            ("purgePartner", {"id": gid("Partner", partner)}),
            ("createPartners", {"partners": [{"name": "x", "kind": "REFERRAL", "commissionRate": 0}]}),
            ("updatePartners", {"partners": [{"id": gid("Partner", partner), "version": 1, "name": "stolen"}]}),
            ("deletePartners", {"ids": [gid("Partner", partner)]}),
            ("restorePartners", {"ids": [gid("Partner", partner)]}),
        ):
            name = mutation[0].upper() + mutation[1:]
            document = f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
            answer = await other.ask(document, input=given)
            assert (answer.codes, answer.data) == (["FORBIDDEN"], {mutation: None}), mutation
    assert await stored_rows(gateway.database) == before


async def test_a_commission_is_paid_once(gateway: Gateway, client: Client, manager: User, admin: User) -> None:
    """Only a won referral has one. It is no longer due, and the payment is in the audit log."""
    partner = await make_partner(gateway.database, manager)
    key = gid("Referral", await make_referral(gateway.database, partner))
    payload = await client.do("payCommission", "referral { commissionPaidAt }", id=key)
    message = "Only WON referrals have a commission. This one is SUBMITTED."
    assert payload["userErrors"] == [user_error("CONFLICT", message, "id")]
    await client.do("closeReferral", "referral { id }", id=key, outcome="WON", value="100")
    tiles = "{ partnershipDashboard { commissionDue commissionPaid } }"
    assert await client.data(tiles) == {"partnershipDashboard": {"commissionDue": "10.00", "commissionPaid": "0.00"}}
    (stale,) = (await client.do("payCommission", "referral { id }", id=key, version=1))["userErrors"]
    assert stale["code"] == "STALE_VERSION"
    selection = "referral { commission commissionPaidAt version }"
    paid = (await client.do("payCommission", selection, id=key, version=2))["referral"]
    assert paid == {"commission": "10.00", "commissionPaidAt": NOON, "version": 3}
    assert (await client.do("payCommission", selection, id=key))["referral"] == paid
    assert await client.data(tiles) == {"partnershipDashboard": {"commissionDue": "0.00", "commissionPaid": "10.00"}}
    events = await event_summaries(gateway.database)
    assert [event[0] for event in events] == ["ReferralClosed", "CommissionPaid"]
    assert events[-1][4] == {
        "owner_id": str(manager.id),
        "partner_id": str(partner.id),
        "commission": "10.00",
        "fields": ["commission_paid_at"],
        "changes": {"commission_paid_at": [None, NOON]},
    }
    due = "{ partners { nodes { referrals(filter: { commissionPaidAt: { isNull: false } }) { totalCount } } } }"
    assert await client.data(due) == {"partners": {"nodes": [{"referrals": {"totalCount": 1}}]}}
    lost = gid("Referral", await make_referral(gateway.database, partner))
    await client.do("closeReferral", "referral { id }", id=lost, outcome="LOST")
    (error,) = (await client.do("payCommission", "referral { id }", id=lost))["userErrors"]
    assert error["code"] == "CONFLICT"
    for other in (gateway.client(), gateway.client(await make_user(gateway.database))):
        document = "mutation($id: ID!) { payCommission(input: {id: $id}) { userErrors { code } } }"
        assert (await other.ask(document, id=key)).data == {"payCommission": None}
    assert [event[0] for event in await event_summaries(gateway.database)][2:] == ["ReferralClosed"]


async def test_a_partnership_has_the_dates_of_its_status(gateway: Gateway, client: Client, manager: User) -> None:
    """NOON is in June 2026 on the 15th. Dates that were given stay, unless they contradict the status."""
    document = "partner { status startedOn endedOn }"
    for before, after, expected in (
        ({}, "ACTIVE", {"startedOn": "2026-06-15", "endedOn": None}),
        ({"started_on": dt.date(2026, 7, 1)}, "ACTIVE", {"startedOn": "2026-07-01", "endedOn": None}),
        ({}, "ENDED", {"startedOn": None, "endedOn": "2026-06-15"}),
        ({"ended_on": dt.date(2026, 5, 1)}, "ENDED", {"startedOn": None, "endedOn": "2026-05-01"}),
        ({"ended_on": dt.date(2027, 5, 1)}, "ENDED", {"startedOn": None, "endedOn": "2026-06-15"}),
    ):
        partner = await make_partner(gateway.database, manager, **before)
        payload = await client.do("changePartnerStatus", document, id=gid("Partner", partner), status=after)
        assert payload == {"partner": {"status": after} | expected, "userErrors": []}, (before, after)
    past = await make_partner(gateway.database, manager, ended_on=dt.date(2026, 6, 14))
    payload = await client.do("changePartnerStatus", document, id=gid("Partner", past), status="ACTIVE")
    message = "The last day of this partnership has passed. Change `endedOn` first."
    assert payload == {"partner": None, "userErrors": [user_error("CONFLICT", message, "status")]}
    later = await make_partner(gateway.database, manager, started_on=dt.date(2026, 6, 16))
    stored = await stored_events(gateway.database)
    payload = await client.do("changePartnerStatus", document, id=gid("Partner", later), status="ENDED")
    message = "This partnership starts on 2026-06-16. Change `startedOn` first."
    assert payload == {"partner": None, "userErrors": [user_error("CONFLICT", message, "status")]}
    assert await stored_events(gateway.database) == stored


async def test_messages_about_null_and_wrong_ids(gateway: Gateway, client: Client, manager: User) -> None:
    key = gid("Partner", await make_partner(gateway.database, manager))
    events = await stored_events(gateway.database)
    for field, value, message in (
        ("commissionRate", None, "This must not be null."),
        ("managerId", None, "This must not be null."),
        ("managerId", key, "This is not the id of a User."),
    ):
        payload = await client.do("updatePartner", "partner { id }", id=key, version=1, **{field: value})
        assert payload == {"partner": None, "userErrors": [user_error("VALIDATION_ERROR", message, field)]}
    payload = await client.do("updatePartner", "partner { id }", id=key, version=2, name="New")
    message = "This is at version 1 now, which is not the one that you read. Read it again and repeat your change."
    assert [(error["code"], error["message"]) for error in payload["userErrors"]] == [("STALE_VERSION", message)]
    assert await stored_events(gateway.database) == events


async def test_an_ended_partnership_keeps_a_last_day(gateway: Gateway, client: Client, manager: User) -> None:
    """NOON is in June 2026 on the 15th."""
    partner = await make_partner(gateway.database, manager)
    key = gid("Partner", partner)
    await client.do("changePartnerStatus", "partner { id }", id=key, status="ENDED")
    events = await stored_events(gateway.database)
    message = "This partnership has ended, so its last day must be given, and must not be in the future."
    for ends in (None, "2026-06-16"):
        payload = await client.do("updatePartner", "partner { id }", id=key, version=2, endedOn=ends)
        assert payload == {"partner": None, "userErrors": [user_error("VALIDATION_ERROR", message, "endedOn")]}
    assert await stored_events(gateway.database) == events
    payload = await client.do("updatePartner", "partner { endedOn }", id=key, version=2, endedOn="2026-06-14")
    assert payload == {"partner": {"endedOn": "2026-06-14"}, "userErrors": []}


async def test_referrals_of_a_deleted_partner_do_not_change(gateway: Gateway, client: Client, manager: User) -> None:
    """Reported by the index of the referral, together with the other errors."""
    live, gone = [await make_partner(gateway.database, manager) for _ in range(2)]
    keys = [gid("Referral", await make_referral(gateway.database, partner)) for partner in (live, gone)]
    admin = gateway.client(await make_user(gateway.database, role=UserRole.ADMIN))
    assert (await admin.do("deletePartner", "partner { id }", id=gid("Partner", gone)))["userErrors"] == []
    events = await stored_events(gateway.database)
    changes = [{"id": keys[0], "version": 7}, {"id": keys[1], "version": 1, "clientName": "New"}]
    payload = await client.do("updateReferrals", "referrals { id }", referrals=changes)
    assert [(error["code"], error["field"]) for error in payload["userErrors"]] == [
        ("STALE_VERSION", ["referrals", "0", "version"]),
        ("NOT_FOUND", ["referrals", "1", "id"]),
    ]
    assert payload["userErrors"][1]["message"] == "There is no such partner."
    assert await stored_events(gateway.database) == events


async def test_a_partnership_counts_until_its_last_day(gateway: Gateway, client: Client, manager: User) -> None:
    """After that day it takes no referrals and is not active, also without a change of its status."""
    last_day = dt.date(2026, 6, 15)
    partner = await make_partner(gateway.database, manager, status=PartnerStatus.ACTIVE, ended_on=last_day)
    later = await make_partner(
        gateway.database, manager, status=PartnerStatus.ACTIVE, started_on=last_day + dt.timedelta(days=1)
    )
    tile = "{ partnershipDashboard { activePartners } }"
    given = {"partnerId": gid("Partner", partner), "clientName": "Client"}
    assert await client.data(tile) == {"partnershipDashboard": {"activePartners": 1}}
    assert (await client.do("submitReferral", "referral { status }", **given))["userErrors"] == []
    after = gateway.at(AT + dt.timedelta(days=1)).client(manager, RoleName.PARTNERSHIP_MANAGER)
    payload = await after.do("submitReferral", "referral { status }", **given)
    message = "This partnership has ended; it takes no more referrals."
    assert payload == {"referral": None, "userErrors": [user_error("CONFLICT", message, "partnerId")]}
    assert await after.data(tile) == {"partnershipDashboard": {"activePartners": 1}}
    await client.do("changePartnerStatus", "partner { id }", id=gid("Partner", later), status="PAUSED")
    assert await after.data(tile) == {"partnershipDashboard": {"activePartners": 0}}


async def test_a_closed_referral_is_reopened(gateway: Gateway, client: Client, manager: User) -> None:
    """It is QUALIFIED again, without a commission, and its value is an estimate that can be changed."""
    partner = await make_partner(gateway.database, manager)
    key = gid("Referral", await make_referral(gateway.database, partner))
    await client.do("closeReferral", REFERRAL, id=key, outcome="WON", value="100")
    (stale,) = (await client.do("reopenReferral", REFERRAL, id=key, version=1))["userErrors"]
    assert (stale["code"], stale["current"]) == ("STALE_VERSION", {"id": key})
    opened = (await client.do("reopenReferral", REFERRAL, id=key, version=2))["referral"]
    assert opened == {
        "id": key,
        "clientName": "Client",
        "status": "QUALIFIED",
        "value": "100.00",
        "commission": None,
        "closedAt": None,
        "version": 3,
        "partner": {"id": gid("Partner", partner)},
    }
    before = await stored_rows(gateway.database)
    assert (await client.do("reopenReferral", REFERRAL, id=key))["referral"] == opened
    assert await stored_rows(gateway.database) == before
    name, aggregate, _, owner, data = (await event_summaries(gateway.database))[-1]
    assert (name, aggregate, owner) == ("ReferralReopened", "referral", manager.id)
    assert data == {
        "owner_id": str(manager.id),
        "partner_id": str(partner.id),
        "fields": ["closed_at", "commission", "status"],
        "changes": {"closed_at": [NOON, None], "commission": ["10.00", None], "status": ["won", "qualified"]},
    }
    changed = await client.do("updateReferral", REFERRAL, id=key, version=3, value="200", clientName=" Renamed ")
    assert (changed["referral"]["value"], changed["referral"]["clientName"]) == ("200.00", "Renamed")
    assert (await client.do("closeReferral", REFERRAL, id=key, outcome="LOST"))["referral"]["status"] == "LOST"
    assert (await client.do("reopenReferral", REFERRAL, id=key))["referral"]["status"] == "QUALIFIED"


async def test_a_referral_whose_commission_was_paid_stays_closed(
    gateway: Gateway, client: Client, manager: User
) -> None:
    partner = await make_partner(gateway.database, manager)
    key = gid("Referral", await make_referral(gateway.database, partner))
    await client.do("closeReferral", REFERRAL, id=key, outcome="WON", value="100")
    await client.do("payCommission", REFERRAL, id=key)
    before = await stored_rows(gateway.database)
    message = "The commission of this referral was paid, so it cannot be reopened."
    payload = await client.do("reopenReferral", REFERRAL, id=key)
    assert payload == {"referral": None, "userErrors": [user_error("CONFLICT", message, "id")]}
    payload = await client.do("reopenReferral", REFERRAL, id=gid("Referral", new_id()))
    assert payload["userErrors"] == [user_error("NOT_FOUND", "There is no such referral.", "id")]
    assert await stored_rows(gateway.database) == before


async def test_the_value_of_a_closed_referral_cannot_be_changed(
    gateway: Gateway, client: Client, manager: User
) -> None:
    """Its name can. All errors are reported together, also those of several referrals, and nothing is changed then."""
    partner = await make_partner(gateway.database, manager)
    open_key, key = [gid("Referral", await make_referral(gateway.database, partner)) for _ in range(2)]
    await client.do("closeReferral", REFERRAL, id=key, outcome="WON", value="100")
    before = await stored_rows(gateway.database)
    message = "The value of a closed referral cannot be changed. Reopen the referral first (`reopenReferral`)."
    for value in ("99", None):
        payload = await client.do("updateReferral", REFERRAL, id=key, version=2, value=value)
        assert payload == {"referral": None, "userErrors": [user_error("CONFLICT", message, "value")]}
    both = [
        {"id": open_key, "version": 1, "clientName": " "},
        {"id": key, "version": 2, "value": "1"},
    ]
    payload = await client.do("updateReferrals", "referrals { id }", referrals=both)
    assert payload == {
        "referrals": None,
        "userErrors": [
            user_error("VALIDATION_ERROR", "This must not be empty.", "referrals", "0", "clientName"),
            user_error("CONFLICT", message, "referrals", "1", "value"),
        ],
    }
    assert await stored_rows(gateway.database) == before
    renamed = await client.do("updateReferral", REFERRAL, id=key, version=2, value="100", clientName="Other")
    assert (renamed["referral"]["clientName"], renamed["referral"]["value"]) == ("Other", "100.00")
    assert (await event_summaries(gateway.database))[-1] == (
        "ReferralUpdated",
        "referral",
        UUID(
            (await client.data("query($id: ID!) { referral(id: $id) { databaseId } }", id=key))["referral"][
                "databaseId"
            ]
        ),
        manager.id,
        {"owner_id": str(manager.id), "fields": ["client_name"]},
    )


async def test_a_partner_is_transferred_to_another_manager(
    gateway: Gateway, client: Client, manager: User, admin: User, bob: User
) -> None:
    """The events of the partner and of its referrals belong to the new manager from then on."""
    await make_grant(gateway.database, bob, RoleName.PARTNERSHIP_MANAGER, by=admin)
    partner = await make_partner(gateway.database, manager)
    referral = await make_referral(gateway.database, partner)
    key = gid("Partner", partner)
    missing = [user_error("NOT_FOUND", "There is no such user.", "managerId")]
    before = await stored_rows(gateway.database)
    for other in (bob.id, new_id()):
        payload = await client.do("updatePartner", PARTNER, id=key, version=1, managerId=gid("User", other))
        assert payload == {"partner": None, "userErrors": missing}
    assert await stored_rows(gateway.database) == before
    moved = await gateway.client(admin).do("updatePartner", PARTNER, id=key, version=1, managerId=gid("User", bob))
    assert moved["partner"]["manager"] == {"id": gid("User", bob)}
    await client.do("qualifyReferral", REFERRAL, id=gid("Referral", referral))
    await client.do("updateReferral", REFERRAL, id=gid("Referral", referral), version=2, value="7")
    owner = str(bob.id)
    events = await event_summaries(gateway.database)
    assert [(name, data) for name, _, _, _, data in events] == [
        (
            "PartnerUpdated",
            {"owner_id": owner, "fields": ["manager_id"], "changes": {"manager_id": [str(manager.id), owner]}},
        ),
        (
            "ReferralQualified",
            {
                "owner_id": owner,
                "partner_id": str(partner.id),
                "fields": ["status"],
                "changes": {"status": ["submitted", "qualified"]},
            },
        ),
        ("ReferralUpdated", {"owner_id": owner, "fields": ["value"], "changes": {"value": [None, "7.00"]}}),
    ]
    lists = "{ partners(scope: MINE) { totalCount } referrals(scope: MINE) { totalCount nodes { clientName } } }"
    none = {"partners": {"totalCount": 0}, "referrals": {"totalCount": 0, "nodes": []}}
    assert await client.data(lists) == none
    assert await gateway.at(AT).client(bob, RoleName.PARTNERSHIP_MANAGER).data(lists) == {
        "partners": {"totalCount": 1},
        "referrals": {"totalCount": 1, "nodes": [{"clientName": "Client"}]},
    }


async def test_referrals_of_all_partners_are_listed(gateway: Gateway, client: Client, manager: User) -> None:
    """The newest first, with conditions on their partners, in groups, and also those of deleted partners."""
    for index, name in enumerate(("Acme", "Beta")):
        partner = await make_partner(gateway.database, manager, name=name)
        for number in range(2):
            await make_referral(
                gateway.database,
                partner,
                client_name=f"{name} {number}",
                created_at=AT.replace(day=1 + index + 2 * number),
            )
    document = """query($filter: ReferralFilter) { referrals(filter: $filter) {
        totalCount nodes { clientName partner { name } } groups(by: PARTNER_ID) { key count } } }"""
    page = (await client.data(document))["referrals"]
    assert [node["clientName"] for node in page["nodes"]] == ["Beta 1", "Acme 1", "Beta 0", "Acme 0"]
    assert sorted(group["count"] for group in page["groups"]) == [2, 2]
    key = gid("Partner", partner)
    for given in ({"partner": {"name": {"eq": "Beta"}}}, {"partnerId": {"eq": key}}, {"search": "beta"}):
        page = (await client.data(document, filter=given))["referrals"]
        assert [node["clientName"] for node in page["nodes"]] == ["Beta 1", "Beta 0"]
        assert page["groups"] == [{"key": key, "count": 2}]
    await client.do("deletePartner", "partner { id }", id=key)
    page = (await client.data(document, filter={"search": "beta"}))["referrals"]
    assert page["nodes"] == [{"clientName": f"Beta {number}", "partner": None} for number in (1, 0)]
    missing = [user_error("NOT_FOUND", "There is no such partner.", "id")]
    referral = gid("Referral", await make_referral(gateway.database, partner))
    before = await stored_rows(gateway.database)
    changes: list[tuple[str, dict[str, Any]]] = [
        ("qualifyReferral", {}),
        ("closeReferral", {"outcome": "LOST"}),
        ("updateReferral", {"version": 1, "value": "5"}),
    ]
    for mutation, values in changes:
        assert (await client.do(mutation, "referral { id }", id=referral, **values))["userErrors"] == missing
    in_use = [user_error("CONFLICT", "Other objects still refer to this partner.", "id")]
    assert (await client.do("purgePartner", "partner { id }", id=key))["userErrors"] == in_use
    assert await stored_rows(gateway.database) == before


async def test_partners_get_and_keep_consistent_dates_in_bulk(gateway: Gateway, client: Client) -> None:
    """The errors of all partners are reported together, and nothing is written then."""
    before = await stored_rows(gateway.database)
    valid = {"name": "x", "kind": "REFERRAL", "commissionRate": "0.1"}
    wrong = valid | {"startedOn": "2026-01-02", "endedOn": "2026-01-01"}
    message = "A partnership must not end before it starts."
    payload = await client.do("createPartners", "partners { id }", partners=[valid, wrong, wrong | {"name": " "}])
    assert {tuple(error["field"]): error["message"] for error in payload["userErrors"]} == {
        ("partners", "1", "endedOn"): message,
        ("partners", "2", "name"): "This must not be empty.",
        ("partners", "2", "endedOn"): message,
    }
    assert await stored_rows(gateway.database) == before
    made = (await client.do("createPartners", "partners { id manager { email } }", partners=[valid, valid]))["partners"]
    assert [row["manager"]["email"] for row in made] == ["manager@example.com"] * 2


async def test_a_commission_is_paid_or_the_referral_reopened(gateway: Gateway, client: Client, manager: User) -> None:
    """Of concurrent requests for both, one succeeds."""
    partner = await make_partner(gateway.database, manager)
    for _ in range(4):
        key = gid("Referral", await make_referral(gateway.database, partner))
        await client.do("closeReferral", REFERRAL, id=key, outcome="WON", value="100")
        payloads = await asyncio.gather(
            *(client.do(mutation, "referral { id }", id=key) for mutation in ("payCommission", "reopenReferral"))
        )
        assert sorted(len(payload["userErrors"]) for payload in payloads) == [0, 1]
        (error,) = [error for payload in payloads for error in payload["userErrors"]]
        assert error["code"] == "CONFLICT"


async def test_changes_of_referrals_are_delivered_to_the_manager(
    gateway: Gateway, client: Client, manager: User, admin: User
) -> None:
    """Without ids, those of the viewer's own partners; with ids, those of every referral that the viewer may see."""
    theirs, own = [
        gid("Referral", await make_referral(gateway.database, await make_partner(gateway.database, person)))
        for person in (manager, admin)
    ]
    process = SubscribingProcess(gateway.database)
    document = """subscription($ids: [ID!]) { referralChanged(ids: $ids) {
        eventType referralId referral { status } } }"""
    async with (
        process.feed.run(),
        process.subscribe(admin, document) as of_viewer,
        process.subscribe(admin, document, ids=[theirs]) as of_id,
    ):
        for key in (theirs, own):
            await client.do("qualifyReferral", REFERRAL, id=key)
        for stream, key in ((of_viewer, own), (of_id, theirs)):
            change = {"eventType": "ReferralQualified", "referralId": key, "referral": {"status": "QUALIFIED"}}
            assert await take(stream, 1) == [{"referralChanged": change}]
