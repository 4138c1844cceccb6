"""The points of tasks, for any sequence of commands, equal those of a plain Python model.

The rule: a task has points while it is completed and not deleted. What was spent cannot be taken back.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from repositories.engines.database import DatabaseOptions
from repositories.tables.identity import User, UserRole
from tests.api.client import Client, Gateway, gid
from tests.factories import make_reward, make_user
from tests.repositories.support import SharedDatabase

AT = dt.datetime.now(dt.UTC).replace(microsecond=0)
DUE_DATES = [None, AT - dt.timedelta(hours=1), AT, AT + dt.timedelta(hours=1)]
ACHIEVEMENTS = {1: 10, 10: 50}
"""Points by the number of different tasks that were completed."""
COSTS = (1, 7, 15, 40)

picks = st.integers(0, 100)


@dataclass
class Task:
    """``booked`` is the sum of the task's entries, ``taken`` what its deletion has taken back."""

    id: str
    due: dt.datetime | None
    status: str = "PENDING"
    is_deleted: bool = False
    worth: int = 0
    booked: int = 0
    taken: int = 0

    @property
    def has_points(self) -> bool:
        return self.status == "COMPLETED" and not self.is_deleted


class Book:
    """The model: tasks, redemptions and the balance."""

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.completed_ever: set[str] = set()
        self.redemptions: dict[str, int] = {}
        self.achievements = 0
        self.balance = 0

    def set_status(self, task: Task, status: str) -> None:
        before, task.status = task.status, status
        if status == "COMPLETED" != before:
            task.worth = 15 if task.due is not None and task.due >= AT else 10
            self._give(task, max(task.worth - task.booked, 0))
            self._unlock(task)
        elif before == "COMPLETED" != status:
            self._take(task)

    def delete(self, task: Task) -> None:
        task.is_deleted = True
        if task.status == "COMPLETED":
            task.taken = self._take(task)

    def restore(self, task: Task) -> None:
        task.is_deleted = False
        if task.status == "COMPLETED":
            self._give(task, task.taken)
            task.taken = 0

    def _give(self, task: Task, points: int) -> None:
        task.booked += points
        self.balance += points

    def _take(self, task: Task) -> int:
        points = min(task.booked, self.balance)
        task.booked -= points
        self.balance -= points
        return points

    def _unlock(self, task: Task) -> None:
        if task.id not in self.completed_ever:
            self.completed_ever.add(task.id)
            points = ACHIEVEMENTS.get(len(self.completed_ever), 0)
            self.achievements += points
            self.balance += points

    @property
    def spent(self) -> int:
        return sum(self.redemptions.values())


class Points(RuleBasedStateMachine):
    """Runs random commands of one user, and compares the user's points after each of them."""

    shared: SharedDatabase

    def __init__(self) -> None:
        super().__init__()
        self.gateway = Gateway(self.shared.database, clock=lambda: AT)
        self.book = Book()
        self.has_lost_points = False

    def _make_user(self) -> tuple[User, User, list[Any]]:
        async def make() -> tuple[User, User, list[Any]]:
            database = self.shared.database
            rewards = [await make_reward(database, cost=cost) for cost in COSTS]
            return await make_user(database), await make_user(database, role=UserRole.ADMIN), rewards

        return self.shared.run(make())

    @initialize()
    def begin(self) -> None:
        user, admin, self.rewards = self._make_user()
        self.client, self.admin = self.gateway.client(user), self.gateway.client(admin)

    def do(self, client: Client, mutation: str, selection: str, **given: Any) -> Any:
        payload = self.shared.run(client.do(mutation, selection, **given))
        assert payload["userErrors"] == []
        return payload[next(iter(payload))]

    def _pick(self, pick: int, *, is_deleted: bool = False) -> Task | None:
        found = [task for task in self.book.tasks if task.is_deleted is is_deleted]
        return found[pick % len(found)] if found else None

    def _version(self, task: Task) -> int:
        shown = self.shared.run(self.client.data("query($id: ID!) { task(id: $id) { version } }", id=task.id))
        version: int = shown["task"]["version"]
        return version

    @rule(dues=st.lists(st.sampled_from(DUE_DATES), min_size=1, max_size=4))
    def create(self, dues: list[dt.datetime | None]) -> None:
        tasks = [{"title": "x", "dueDate": due and due.isoformat()} for due in dues]
        made = self.do(self.client, "createTasks", "tasks { id }", tasks=tasks)
        self.book.tasks += [Task(row["id"], due) for row, due in zip(made, dues, strict=True)]

    @rule(mutation=st.sampled_from(["completeTask", "reopenTask"]), pick=picks)
    def change(self, mutation: str, pick: int) -> None:
        if task := self._pick(pick):
            self.do(self.client, mutation, "task { id }", id=task.id)
            if mutation == "completeTask":
                self.book.set_status(task, "COMPLETED")
            elif task.status in {"COMPLETED", "CANCELLED"}:
                self.book.set_status(task, "PENDING")

    @rule(status=st.sampled_from(["PENDING", "COMPLETED", "CANCELLED"]), due=st.sampled_from(DUE_DATES), pick=picks)
    def update(self, status: str, due: dt.datetime | None, pick: int) -> None:
        """Changes status and due date of two tasks at once, or of one."""
        tasks = {task.id: task for task in (self._pick(pick), self._pick(pick + 1)) if task}
        if tasks:
            changes = [
                {"id": key, "version": self._version(task), "status": status, "dueDate": due and due.isoformat()}
                for key, task in tasks.items()
            ]
            self.do(self.client, "updateTasks", "tasks { id }", tasks=changes)
            for task in tasks.values():
                task.due = due
                self.book.set_status(task, status)

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        if task := self._pick(pick):
            self.do(self.client, "deleteTask", "task { id }", id=task.id)
            self.book.delete(task)

    @rule(pick=picks)
    def restore(self, pick: int) -> None:
        if task := self._pick(pick, is_deleted=True):
            self.do(self.client, "restoreTask", "task { id }", id=task.id)
            self.book.restore(task)

    @precondition(lambda self: self.book.balance >= min(COSTS))
    @rule(pick=picks)
    def redeem(self, pick: int) -> None:
        affordable = [reward for reward in self.rewards if reward.cost <= self.book.balance]
        reward = affordable[pick % len(affordable)]
        made = self.do(self.client, "redeemReward", "rewardRedemption { id }", rewardId=gid("Reward", reward))
        self.book.redemptions[made["id"]] = reward.cost
        self.book.balance -= reward.cost

    @precondition(lambda self: self.book.redemptions)
    @rule(pick=picks)
    def refund(self, pick: int) -> None:
        key = sorted(self.book.redemptions)[pick % len(self.book.redemptions)]
        self.do(self.admin, "refundRedemption", "rewardRedemption { id }", id=key)
        self.book.balance += self.book.redemptions.pop(key)

    @invariant()
    def points_are_exact(self) -> None:
        """The balance is the points of tasks and achievements minus the redemptions, and never negative."""
        if not hasattr(self, "client"):
            return
        document = "{ pointBalance gamificationDashboard { pointBalance pointsThisWeek } }"
        shown, book = self.shared.run(self.client.data(document)), self.book
        earned = sum(task.booked for task in book.tasks) + book.achievements
        assert shown["pointBalance"] == shown["gamificationDashboard"]["pointBalance"] == book.balance
        assert shown["gamificationDashboard"]["pointsThisWeek"] == earned
        assert book.balance == earned - book.spent >= 0
        assert all(task.booked <= 15 for task in book.tasks)
        self.has_lost_points |= any(task.booked and not task.has_points for task in book.tasks)
        if not self.has_lost_points:
            worth = sum(task.worth for task in book.tasks if task.has_points)
            assert book.balance == worth + book.achievements - book.spent

    def teardown(self) -> None:
        self.shared.run(self.gateway.http.aclose())


def test_points_are_exact_for_any_commands(options: DatabaseOptions) -> None:
    """Without spent points, the balance is the points of the completed tasks that are not deleted, and achievements."""
    shared = SharedDatabase(options)
    machine = type("SharedPoints", (Points,), {"shared": shared})
    try:
        run_state_machine_as_test(
            machine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None, derandomize=True)
        )
    finally:
        shared.close()


async def _points(client: Client) -> list[tuple[int, str]]:
    """Points and reasons of the entries of tasks, oldest first."""
    data = await client.data("{ pointHistory { nodes { points reason } } }")
    nodes = data["pointHistory"]["nodes"][::-1]
    return [(node["points"], node["reason"]) for node in nodes if node["reason"] != "ACHIEVEMENT_UNLOCKED"]


async def test_a_deleted_task_loses_its_points_until_it_is_restored(gateway: Gateway, ada: User) -> None:
    """They are the points of its completion, although its due date has changed since. Open tasks have none."""
    client = gateway.at(AT).client(ada)
    task = (await client.do("createTask", "task { id }", title="x", dueDate=AT.isoformat()))["task"]["id"]
    for mutation in ("deleteTask", "restoreTask", "completeTask"):
        await client.do(mutation, "task { id }", id=task)
    await client.do("updateTask", "task { id }", id=task, version=4, dueDate=None)
    for mutation in ("deleteTask", "restoreTask", "deleteTask", "restoreTask", "reopenTask", "deleteTask"):
        await client.do(mutation, "task { id }", id=task)
    assert await _points(client) == [
        (15, "TASK_COMPLETED"),
        (-15, "TASK_DELETED"),
        (15, "TASK_RESTORED"),
        (-15, "TASK_DELETED"),
        (15, "TASK_RESTORED"),
        (-15, "TASK_REOPENED"),
    ]
    leaderboard = "{ leaderboard(period: WEEK) { points } gamificationDashboard { rank } }"
    shown = await client.data(leaderboard)
    assert shown == {"leaderboard": [{"points": 10}], "gamificationDashboard": {"rank": 1}}


@pytest.mark.parametrize("ending", ["deleteTask", "reopenTask"])
async def test_spent_points_are_not_taken_back(gateway: Gateway, ada: User, ending: str) -> None:
    """Only the rest is. A restored task gets that rest back, and a task that is completed again the same."""
    client = gateway.at(AT).client(ada)
    task = (await client.do("createTask", "task { id }", title="x"))["task"]["id"]
    await client.do("completeTask", "task { id }", id=task)
    reward = await make_reward(gateway.database, cost=10 + 10 - 3)
    await client.do("redeemReward", "rewardRedemption { id }", rewardId=gid("Reward", reward))
    for mutation in (ending, "restoreTask" if ending == "deleteTask" else "completeTask") * 2:
        await client.do(mutation, "task { id }", id=task)
    taken, given = ("TASK_DELETED", "TASK_RESTORED") if ending == "deleteTask" else ("TASK_REOPENED", "TASK_COMPLETED")
    assert (await _points(client))[2:] == [(-3, taken), (3, given)] * 2
