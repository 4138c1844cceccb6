"""Roles, settings, the audit log and overviews: administrators can use them, other users cannot."""

import asyncio
import datetime as dt
from typing import Any

from gateway.jobs.runner import JobRunner, jobs_by_name
from gateway.settings import Settings
from migrations import files
from repositories.administration import RoleGrants, granted_roles
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.job_runs import JobRuns
from repositories.life_lock.statistics import REFRESH_JOB
from repositories.permissions import RoleName
from repositories.tables.administration import JobOutcome
from repositories.tables.identity import User, UserRole, UserStatus
from repositories.tables.life_lock import TaskStatus
from tests.api.client import USER_ERRORS, Client, Gateway, gid, user_error
from tests.api.people import make_member, open_session
from tests.api.stored_rows import event_summaries, stored_events
from tests.factories import make_grant, make_task, make_user

AT = dt.datetime(2026, 6, 17, 12, tzinfo=dt.UTC)
NOON = "2026-06-17T12:00:00+00:00"
GRANT = "roleGrant { id user { id } role { name } grantedBy { id } grantedAt }"


async def _role_ids(client: Client) -> dict[str, str]:
    return {row["name"]: row["id"] for row in (await client.data("{ roles { id name } }"))["roles"]}


async def _fetch_rows(database: Database) -> Any:
    snapshot = database.snapshot(SERVICE)
    try:
        return [await RoleGrants(snapshot).find(limit=100), await stored_events(database)]
    finally:
        await snapshot.close()


async def _fetch_roles(database: Database, user: User) -> frozenset[RoleName]:
    snapshot = database.snapshot(SERVICE)
    try:
        return await granted_roles(snapshot, user.id)
    finally:
        await snapshot.close()


async def test_a_role_is_granted_and_revoked(gateway: Gateway, ada: User, admin: User) -> None:
    client = gateway.at(AT).client(admin)
    roles = await _role_ids(client)
    assert list(roles) == ["admin", "catalog_manager", "order_manager", "partnership_manager"]
    given = {"userId": gid("User", ada), "roleId": roles["partnership_manager"]}
    grant = (await client.do("grantRole", GRANT, **given))["roleGrant"]
    assert grant == {
        "id": grant["id"],
        "user": {"id": gid("User", ada)},
        "role": {"name": "partnership_manager"},
        "grantedBy": {"id": gid("User", admin)},
        "grantedAt": NOON,
    }
    assert (await client.do("grantRole", GRANT, **given))["roleGrant"] == grant
    assert await _fetch_roles(gateway.database, ada) == {RoleName.PARTNERSHIP_MANAGER}
    document = "{ partners { totalCount } }"
    renewed = gateway.client(ada, *await _fetch_roles(gateway.database, ada))
    for each in (gateway.client(ada), renewed):
        assert await each.data(document) == {"partners": {"totalCount": 0}}
    shown = await client.data(
        "query($id: ID!) { node(id: $id) { ... on User { roles { name } } } }", id=gid("User", ada)
    )
    assert shown == {"node": {"roles": [{"name": "partnership_manager"}]}}
    assert (await client.do("revokeRole", GRANT, **given))["roleGrant"] == grant
    assert await _fetch_roles(gateway.database, ada) == frozenset()
    assert (await renewed.ask(document)).codes == ["FORBIDDEN"]
    missing = user_error("CONFLICT", "This role was not granted to this user.", "roleId")
    assert await client.do("revokeRole", GRANT, **given) == {"roleGrant": None, "userErrors": [missing]}
    data = {"owner_id": str(ada.id), "role": "partnership_manager"}
    assert await event_summaries(gateway.database) == [
        (name, "user", ada.id, admin.id, data) for name in ("RoleGranted", "RoleRevoked")
    ]


async def test_granting_needs_an_existing_user_and_role(gateway: Gateway, admin: User) -> None:
    client = gateway.client(admin)
    given = {"userId": gid("User", new_id()), "roleId": gid("Role", new_id())}
    for mutation in ("grantRole", "revokeRole"):
        payload = await client.do(mutation, GRANT, **given)
        assert payload["userErrors"] == [
            user_error("NOT_FOUND", "There is no such user.", "userId"),
            user_error("NOT_FOUND", "There is no such role.", "roleId"),
        ]
    assert await _fetch_rows(gateway.database) == [[], []]


async def test_the_last_admin_role_cannot_be_revoked(gateway: Gateway, ada: User) -> None:
    """Suspended and deleted admins do not count. If there is another active admin, the role can be revoked."""
    await make_user(gateway.database, role=UserRole.ADMIN, status=UserStatus.SUSPENDED)
    await make_user(gateway.database, role=UserRole.ADMIN, deleted_at=AT)
    client = gateway.client(ada, RoleName.ADMIN)
    role = (await _role_ids(client))["admin"]
    given = {"userId": gid("User", ada), "roleId": role}
    assert (await client.do("grantRole", GRANT, **given))["userErrors"] == []
    before = await _fetch_rows(gateway.database)
    last = user_error("CONFLICT", "This is the last administrator; make somebody else one first.", "userId")
    assert await client.do("revokeRole", GRANT, **given) == {"roleGrant": None, "userErrors": [last]}
    assert await _fetch_rows(gateway.database) == before
    await make_user(gateway.database, role=UserRole.ADMIN)
    assert (await client.do("revokeRole", GRANT, **given))["userErrors"] == []


async def test_admins_who_revoke_each_others_roles_leave_one_admin(gateway: Gateway) -> None:
    """All revoke at the same time, each the role of the next. Who has lost the role first cannot revoke any more."""
    people = [await make_user(gateway.database) for _ in range(4)]
    clients = [gateway.client(person, RoleName.ADMIN) for person in people]
    role = (await _role_ids(clients[0]))["admin"]
    for person in people:
        await clients[0].do("grantRole", GRANT, userId=gid("User", person), roleId=role)
    document = f"mutation($input: RevokeRoleInput!) {{ revokeRole(input: $input) {{ {GRANT} {USER_ERRORS} }} }}"
    answers = await asyncio.gather(
        *(
            client.ask(document, input={"userId": gid("User", people[index - 1]), "roleId": role})
            for index, client in enumerate(clients)
        )
    )
    allowed = [answer.data["revokeRole"]["userErrors"] for answer in answers if answer.codes == []]
    assert [answer.codes for answer in answers if answer.codes] == [["FORBIDDEN"]] * (len(people) - len(allowed))
    last = user_error("CONFLICT", "This is the last administrator; make somebody else one first.", "userId")
    assert all(errors in ([], [last]) for errors in allowed)
    remaining = [person for person in people if RoleName.ADMIN in await _fetch_roles(gateway.database, person)]
    assert len(remaining) == len(people) - allowed.count([]) > 0


async def test_the_audit_log_is_filtered_by_actor_aggregate_type_and_time(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    tasks = {}
    for day, person in ((1, ada), (2, bob), (3, ada)):
        task = tasks[day] = await make_task(gateway.database, person)
        await gateway.at(AT.replace(day=day)).client(person).do("completeTask", "task { id }", id=gid("Task", task))
    await gateway.at(AT.replace(day=4)).client(ada).do("createCategory", "category { id }", name="Home")
    document = """query($filter: AuditLogFilter, $first: Int, $after: String) {
        auditLog(filter: $filter, first: $first, after: $after) { totalCount nodes { timestamp }
        pageInfo { endCursor } } }"""
    client = gateway.client(admin)

    both = {"in": ["TaskCompleted", "CategoryCreated"]}

    async def days(**given: Any) -> list[int]:
        given = {"eventType": both} | given
        found = (await client.data(document, filter=given))["auditLog"]
        assert found["totalCount"] == len(found["nodes"])
        return [dt.datetime.fromisoformat(node["timestamp"]).day for node in found["nodes"]]

    assert await days() == [4, 3, 2, 1]
    assert await days(userId={"eq": gid("User", ada)}) == [4, 3, 1]
    assert await days(aggregateType={"eq": "task"}) == [3, 2, 1]
    assert await days(aggregateId={"eq": str(tasks[2].id)}) == [2]
    assert await days(aggregateId={"in": [str(tasks[1].id), str(tasks[3].id)]}) == [3, 1]
    assert await days(eventType={"in": ["CategoryCreated"]}) == [4]
    assert await days(timestamp={"gte": "2026-06-02T12:00:00Z", "lt": "2026-06-04T00:00:00Z"}) == [3, 2]
    first = (await client.data(document, filter={"eventType": both}, first=3))["auditLog"]
    rest = (await client.data(document, filter={"eventType": both}, first=3, after=first["pageInfo"]["endCursor"]))[
        "auditLog"
    ]
    assert [len(first["nodes"]), len(rest["nodes"]), rest["totalCount"]] == [3, 1, 4]


async def test_audit_log_entries_have_the_user_who_acted(
    gateway: Gateway, ada: User, bob: User, admin: User, statements: list[str]
) -> None:
    """A deleted user is null. One statement loads the users of all events."""
    gone = await make_user(gateway.database)
    for person in (ada, bob, gone, ada):
        await gateway.client(person).do("createCategory", "category { id }", name=f"Home {new_id()}")
    async with gateway.database.transaction(SERVICE) as write:
        await Users(write).change(gone, deleted_at=AT)
    document = "{ auditLog { nodes { userId user { id email } } } }"
    statements.clear()
    nodes = (await gateway.client(admin).data(document))["auditLog"]["nodes"]
    assert nodes == [
        {"userId": str(person.id), "user": shown and {"id": gid("User", person), "email": person.email}}
        for person, shown in ((ada, True), (gone, None), (bob, True), (ada, True))
    ]
    assert len([text for text in statements if not text.startswith("BEGIN")]) == 2
    task = await make_task(gateway.database, ada)
    await gateway.client(ada).do("completeTask", "task { id }", id=gid("Task", task))
    document = "query($id: ID!) { taskEvents(id: $id) { eventType user { email } } }"
    for client in (gateway.client(ada), gateway.client(admin)):
        data = await client.data(document, id=gid("Task", task))
        assert data == {"taskEvents": [{"eventType": "TaskCompleted", "user": {"email": "ada@example.com"}}]}


GRANTS = """query($filter: RoleGrantFilter, $order: [RoleGrantOrder!]) { roleGrants(filter: $filter, order: $order) {
    totalCount nodes { user { email } role { name } grantedBy { email } } groups(by: ROLE_ID) { key count } } }"""


async def test_grants_are_listed_and_filtered(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """The latest first, in the list and in ``Role.grants``."""
    granted = [(ada, RoleName.PARTNERSHIP_MANAGER), (bob, RoleName.ADMIN), (ada, RoleName.ADMIN)]
    for person, role in granted:
        await make_grant(gateway.database, person, role, by=admin)
    client = gateway.client(admin)
    roles = await _role_ids(client)

    async def listed(**given: Any) -> list[tuple[str, str]]:
        found = (await client.data(GRANTS, **given))["roleGrants"]
        assert found["totalCount"] == len(found["nodes"]) == sum(group["count"] for group in found["groups"])
        assert {node["grantedBy"]["email"] for node in found["nodes"]} <= {admin.email}
        return [(node["user"]["email"], node["role"]["name"]) for node in found["nodes"]]

    everything = [(person.email, role.value) for person, role in reversed(granted)]
    assert await listed() == everything
    assert await listed(order=[{"field": "GRANTED_AT"}]) == everything[::-1]
    assert await listed(filter={"userId": {"eq": gid("User", ada)}}) == [everything[0], everything[2]]
    assert await listed(filter={"roleId": {"eq": roles["admin"]}}) == everything[:2]
    assert await listed(filter={"role": {"name": {"eq": "partnership_manager"}}}) == [everything[2]]
    assert await listed(filter={"user": {"email": {"eq": "bob@example.com"}}}) == [everything[1]]
    both = {"userId": {"eq": gid("User", bob)}, "roleId": {"eq": roles["partnership_manager"]}}
    assert await listed(filter=both) == []
    groups = (await client.data(GRANTS))["roleGrants"]["groups"]
    assert groups == [{"key": roles["admin"], "count": 2}, {"key": roles["partnership_manager"], "count": 1}]
    document = """query($id: ID!, $filter: RoleGrantFilter) { role(id: $id) { name grants(filter: $filter) {
        nodes { user { email } } } } }"""
    data = await client.data(document, id=roles["admin"])
    assert data["role"] == {
        "name": "admin",
        "grants": {"nodes": [{"user": {"email": email}} for email, _ in everything[:2]]},
    }
    data = await client.data(document, id=roles["admin"], filter={"userId": {"eq": gid("User", bob)}})
    assert data["role"]["grants"] == {"nodes": [{"user": {"email": "bob@example.com"}}]}


RUNS = """query($filter: JobRunFilter, $order: [JobRunOrder!]) { jobRuns(filter: $filter, order: $order) { totalCount
    nodes { job startedAt finishedAt outcome processed errorId } groups(by: OUTCOME) { key count } } }"""


async def test_runs_of_jobs_are_filtered_and_sorted(gateway: Gateway, admin: User) -> None:
    """The latest first."""
    hour, error = dt.timedelta(hours=1), new_id()
    runs: list[dict[str, Any]] = [
        {"job": "a", "outcome": JobOutcome.SUCCEEDED, "finished_at": AT + hour, "processed": 7},
        {"job": "b", "outcome": JobOutcome.FAILED, "finished_at": AT + hour, "error_id": error},
        {"job": "b", "outcome": JobOutcome.ABANDONED},
        {"job": "a", "outcome": JobOutcome.SUCCEEDED, "finished_at": AT + 4 * hour, "processed": 3},
        {"job": "a"},
    ]
    async with gateway.database.transaction(SERVICE) as write:
        made = [await JobRuns(write).add(started_at=AT + index * hour, **run) for index, run in enumerate(runs)]
    client = gateway.client(admin)
    shown = [
        {
            "job": row.job,
            "startedAt": row.started_at.isoformat(),
            "finishedAt": row.finished_at and row.finished_at.isoformat(),
            "outcome": row.outcome.name,
            "processed": row.processed,
            "errorId": row.error_id and str(row.error_id),
        }
        for row in made
    ]

    async def listed(**given: Any) -> list[int]:
        found = (await client.data(RUNS, **given))["jobRuns"]
        assert found["totalCount"] == len(found["nodes"])
        return [shown.index(node) for node in found["nodes"]]

    assert await listed() == [4, 3, 2, 1, 0]
    assert await listed(filter={"job": {"eq": "a"}}) == [4, 3, 0]
    assert await listed(filter={"outcome": {"in": ["FAILED", "ABANDONED"]}}) == [2, 1]
    assert await listed(filter={"outcome": {"eq": "RUNNING"}}) == [4]
    assert await listed(filter={"errorId": {"eq": str(error)}}) == [1]
    assert await listed(filter={"processed": {"gt": 3}}) == [0]
    assert await listed(filter={"startedAt": {"gte": (AT + 3 * hour).isoformat()}}) == [4, 3]
    assert await listed(filter={"finishedAt": {"isNull": True}}) == [4, 2]
    assert await listed(filter={"job": {"eq": "a"}}, order=[{"field": "PROCESSED"}]) == [3, 0, 4]
    assert await listed(order=[{"field": "STARTED_AT"}]) == [0, 1, 2, 3, 4]
    groups = (await client.data(RUNS))["jobRuns"]["groups"]
    assert groups[0] == {"key": "SUCCEEDED", "count": 2}
    assert {(group["key"], group["count"]) for group in groups[1:]} == {("ABANDONED", 1), ("FAILED", 1), ("RUNNING", 1)}
    data = await client.data("query($id: ID!) { jobRun(id: $id) { outcome } }", id=gid("JobRun", made[1]))
    assert data == {"jobRun": {"outcome": "FAILED"}}


async def test_only_administrators_see_grants_roles_and_runs(
    gateway: Gateway, ada: User, bob: User, admin: User
) -> None:
    """Also in ``node``, where a row that exists is the same as one that does not."""
    grant = await make_grant(gateway.database, ada, RoleName.PARTNERSHIP_MANAGER, by=admin)
    async with gateway.database.transaction(SERVICE) as write:
        run = await JobRuns(write).add(job="a", started_at=AT)
    ids = {"role": gid("Role", grant.role_id), "roleGrant": gid("RoleGrant", grant), "jobRun": gid("JobRun", run)}
    for client in (gateway.client(ada), gateway.client(bob, RoleName.PARTNERSHIP_MANAGER)):
        for name, key in ids.items():
            for given in (key, gid(name[0].upper() + name[1:], new_id())):
                answer = await client.ask(f"query($id: ID!) {{ {name}(id: $id) {{ id }} }}", id=given)
                assert (answer.data, answer.codes) == ({name: None}, ["FORBIDDEN"])
                answer = await client.ask("query($id: ID!) { node(id: $id) { id } }", id=given)
                assert (answer.data, answer.codes) == ({"node": None}, ["NOT_FOUND"])
        for name in ("roleGrants", "jobRuns"):
            answer = await client.ask(f"{{ {name} {{ totalCount nodes {{ id }} }} }}")
            assert (answer.data, answer.codes) == ({name: None}, ["FORBIDDEN"])
    answer = await gateway.client().ask("{ roleGrants { totalCount } jobRuns { totalCount } }")
    assert (answer.data, answer.codes) == ({"roleGrants": None, "jobRuns": None}, ["UNAUTHENTICATED"] * 2)


OVERVIEW = """query($zone: String) { usersOverview(timeZone: $zone) { byStatus { status total } byRole { role total }
    newThisWeek newThisMonth activeLastSevenDays } }"""


async def test_the_users_overview(gateway: Gateway, ada: User, admin: User, statements: list[str]) -> None:
    """Weeks start on Monday by default, months on the first. 17 June 2026 is a Wednesday.

    The tally of the users executes two statements: one reads the preferred first day of the week.
    """
    monday, first = dt.datetime(2026, 6, 15, tzinfo=dt.UTC), dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
    client = gateway.at(AT).client(admin)
    before = (await client.data(OVERVIEW))["usersOverview"]
    for moment in (monday, first):
        for nudge in (0, -1):
            await make_user(gateway.database, created_at=moment + dt.timedelta(microseconds=nudge))
    await make_user(gateway.database, created_at=AT, status=UserStatus.SUSPENDED)
    await make_user(gateway.database, created_at=AT, deleted_at=AT)
    roles = await _role_ids(client)
    for name in ("admin", "partnership_manager"):
        await client.do("grantRole", GRANT, userId=gid("User", ada), roleId=roles[name])
    after = (await client.data(OVERVIEW))["usersOverview"]
    assert after["newThisWeek"] - before["newThisWeek"] == 2
    assert after["newThisMonth"] - before["newThisMonth"] == 4
    assert after["byStatus"] == [
        {"status": "ACTIVE", "total": 6},
        {"status": "SUSPENDED", "total": 1},
        {"status": "DEACTIVATED", "total": 0},
    ]
    assert after["byRole"] == [
        {"role": "USER", "total": 7},
        {"role": "PARTNERSHIP_MANAGER", "total": 1},
        {"role": "CATALOG_MANAGER", "total": 0},
        {"role": "ORDER_MANAGER", "total": 0},
        {"role": "ADMIN", "total": 2},
    ]
    assert (before["activeLastSevenDays"], after["activeLastSevenDays"]) == (0, 1)
    later = (await gateway.at(AT + dt.timedelta(days=7)).client(admin).data(OVERVIEW))["usersOverview"]
    assert later["activeLastSevenDays"] == 1
    later = (await gateway.at(AT + dt.timedelta(days=7, microseconds=1)).client(admin).data(OVERVIEW))["usersOverview"]
    assert later["activeLastSevenDays"] == 0
    west = (await client.data(OVERVIEW, zone="America/New_York"))["usersOverview"]
    assert west["newThisWeek"] == after["newThisWeek"] - 1
    tiles = {
        "byStatus { total }": 2,
        "byRole { total }": 1,
        "activeLastSevenDays": 1,
        "byStatus { total } newThisWeek newThisMonth": 2,
        "byStatus { total } byRole { total } newThisWeek newThisMonth activeLastSevenDays": 4,
        "__typename": 0,
    }
    for fields, count in tiles.items():
        statements.clear()
        await client.data(f"{{ usersOverview {{ {fields} }} }}")
        assert len([text for text in statements if not text.startswith("BEGIN")]) == count, fields


TASKS = "{ usersOverview { tasks { total completed overdue meanCompletionRate refreshedAt } } }"


async def test_task_totals_are_those_of_the_last_refresh(
    gateway: Gateway, ada: User, bob: User, admin: User, statements: list[str]
) -> None:
    """The job or an administrator refreshes them on PostgreSQL. On SQLite they are always current."""
    database = gateway.database
    refreshes = database.engine.is_postgresql
    hour = dt.timedelta(hours=1)

    async def fetch_totals(at: dt.datetime) -> tuple[Any, ...]:
        data = await gateway.at(at).client(admin).data(TASKS)
        return tuple(data["usersOverview"]["tasks"].values())

    assert await fetch_totals(AT) == (0, 0, 0, None, None if refreshes else NOON)
    done = {"status": TaskStatus.COMPLETED, "completed_at": AT}
    for user, values in (
        (ada, done),
        (ada, {"due_date": AT}),
        (ada, {"status": TaskStatus.CANCELLED, "due_date": AT}),
        (ada, {"deleted_at": AT}),
        (bob, done),
    ):
        await make_task(database, user, **values)
    live = (4, 2, 1, "66.67")
    assert await fetch_totals(AT) == ((0, 0, 0, None, None) if refreshes else (*live, NOON))
    job = jobs_by_name(Settings())[REFRESH_JOB]
    run = await JobRunner(database, lambda: AT + hour).run(job)
    assert run is not None
    assert run.processed == 3
    assert await fetch_totals(AT + 2 * hour) == (
        *live,
        "2026-06-17T13:00:00+00:00" if refreshes else "2026-06-17T14:00:00+00:00",
    )
    await make_task(database, bob)
    more = (5, 2, 1, "41.67")
    totals = await fetch_totals(AT + 2 * hour)
    assert totals == ((*live, "2026-06-17T13:00:00+00:00") if refreshes else (*more, "2026-06-17T14:00:00+00:00"))
    await gateway.at(AT + 3 * hour).client(admin).data("mutation { refreshUserDashboardStats { refreshedAt } }")
    assert await fetch_totals(AT + 3 * hour) == (*more, "2026-06-17T15:00:00+00:00")
    snapshot = database.snapshot(SERVICE)
    runs = await JobRuns(snapshot).find(limit=9)
    await snapshot.close()
    assert [(each.job, each.outcome, each.processed) for each in runs] == [(REFRESH_JOB, "succeeded", 3)] * 2
    for fields, count in {
        "total completed overdue meanCompletionRate": 1,
        "refreshedAt": int(refreshes),
        "__typename": 0,
    }.items():
        statements.clear()
        await gateway.client(admin).data(f"{{ usersOverview {{ tasks {{ {fields} }} }} }}")
        assert len([text for text in statements if not text.startswith("BEGIN")]) == count, fields


async def test_only_admins_refresh_and_read_task_totals(gateway: Gateway, ada: User) -> None:
    """A rejected refresh records no job run."""
    for client in (gateway.client(), gateway.client(ada)):
        answer = await client.ask("mutation { refreshUserDashboardStats { refreshedAt } }")
        assert answer.data == {"refreshUserDashboardStats": None}
        assert (await client.ask(TASKS)).data == {"usersOverview": None}
    snapshot = gateway.database.snapshot(SERVICE)
    assert await JobRuns(snapshot).find(limit=9) == []
    await snapshot.close()


async def test_users_who_are_not_admins_administer_nothing(gateway: Gateway, ada: User, bob: User, admin: User) -> None:
    """The fields are FORBIDDEN. A row that is looked up by its id is NOT_FOUND, like a missing one. Nothing changes."""
    client = gateway.client(admin)
    role = (await _role_ids(client))["partnership_manager"]
    grant = (await client.do("grantRole", GRANT, userId=gid("User", bob), roleId=role))["roleGrant"]["id"]
    before = await _fetch_rows(gateway.database)
    for other in (gateway.client(ada), gateway.client(ada, RoleName.PARTNERSHIP_MANAGER)):
        answer = await other.ask("{ roles { id } auditLog { totalCount } usersOverview { newThisWeek } }")
        assert (answer.data, answer.codes) == (
            dict.fromkeys(("roles", "auditLog", "usersOverview")),
            ["FORBIDDEN"] * 3,
        )
        answer = await other.ask("{ viewer { email roles { name } } }")
        assert (answer.data["viewer"], answer.codes) == ({"email": "ada@example.com", "roles": None}, ["FORBIDDEN"])
        for key, name in ((role, "Role"), (grant, "RoleGrant")):
            bodies = []
            for each in (key, gid(name, new_id())):
                answer = await other.ask("query($id: ID!) { node(id: $id) { id } }", id=each)
                assert answer.codes == ["NOT_FOUND"]
                bodies.append(answer.body)
            assert bodies[0] == bodies[1]
        given: list[tuple[str, dict[str, Any]]] = [
            ("grantRole", {"userId": gid("User", ada), "roleId": role}),
            ("revokeRole", {"userId": gid("User", bob), "roleId": role}),
        ]
        for mutation, values in given:
            name = mutation[0].upper() + mutation[1:]
            document = f"mutation($input: {name}Input!) {{ {mutation}(input: $input) {{ userErrors {{ code }} }} }}"
            answer = await other.ask(document, input=values)
            assert (answer.codes, answer.data) == (["FORBIDDEN"], {mutation: None}), mutation
    assert await _fetch_rows(gateway.database) == before


async def test_concurrent_grants_of_a_role_create_one_grant(gateway: Gateway, ada: User) -> None:
    """All of them return the same grant."""
    admins = [await make_user(gateway.database, role=UserRole.ADMIN) for _ in range(6)]
    clients = [gateway.client(admin) for admin in admins]
    given = {"userId": gid("User", ada), "roleId": (await _role_ids(clients[0]))["partnership_manager"]}
    payloads = await asyncio.gather(*(client.do("grantRole", GRANT, **given) for client in clients))
    assert [payload["userErrors"] for payload in payloads] == [[]] * 6
    (grant,) = {payload["roleGrant"]["id"] for payload in payloads}
    ((stored,), recorded) = await _fetch_rows(gateway.database)
    assert grant == gid("RoleGrant", stored)
    assert [event.event_type for event in recorded] == ["RoleGranted"]


async def test_the_system_health(gateway: Gateway, ada: User, admin: User) -> None:
    """Only admins can read it."""
    await make_user(gateway.database, deleted_at=AT)
    await make_member(gateway.database, "grace@example.com")
    client, _ = await open_session(gateway, "grace@example.com")
    await client.do("signOut", "sessions { id }", everywhere=True)
    await open_session(gateway, "grace@example.com")
    document = """{ systemHealth { engine connections connectionsInUse revision users sessions events
        uptimeSeconds } }"""
    assert (await gateway.client(ada).ask(document)).codes == ["FORBIDDEN"]
    health = (await gateway.client(admin).data(document))["systemHealth"]
    assert health.pop("uptimeSeconds") >= 0
    assert health.pop("connections") >= 1
    assert health.pop("connectionsInUse") in {0, 1}
    assert health == {
        "engine": gateway.database.engine.value,
        "revision": files.newest_revision(),
        "users": 3,
        "sessions": 1,
        "events": 5,
    }
