"""What can be done with achievements and rewards."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator
from strawberry import Maybe

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, NotFound
from repositories.gamification.achievements import Achievements
from repositories.gamification.events import (
    AchievementCreated,
    AchievementUpdated,
    RedemptionFulfilled,
    RedemptionRefunded,
    RewardCreated,
    RewardRedeemed,
    RewardUpdated,
)
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.identity import Users
from repositories.tables.gamification import (
    MAX_COUNT,
    MAX_STREAK,
    Achievement,
    CountedEvent,
    RedemptionStatus,
    Reward,
    RewardRedemption,
)
from resolvers.validation.command import (
    Command,
    Storable,
    Version,
    Visible,
    VisibleText,
    changed_fields,
    check_version,
    locate_taken_id,
    matching,
    provided_fields,
)
from resolvers.validation.global_ids import GlobalKey

AchievementKey = Annotated[UUID, GlobalKey("Achievement")]
RewardKey = Annotated[UUID, GlobalKey("Reward")]
RedemptionKey = Annotated[UUID, GlobalKey("RewardRedemption")]
Code = Annotated[str, matching("[a-z0-9_]{1,50}", "A code has 1 to 50 lower-case letters, digits and underscores")]
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100), Visible]
Praise = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500), VisibleText]
Description = Annotated[str, StringConstraints(max_length=2000), Storable]
AchievementPoints = Annotated[int, Field(ge=1, le=100_000)]
Cost = Annotated[int, Field(ge=1, le=1_000_000)]
Stock = Annotated[int, Field(ge=0, le=1_000_000)]


class AchievementCriteria(Command):
    """What must have happened; give either `count` or `streakDays`."""

    event: CountedEvent = CountedEvent.TASK_COMPLETED
    """What must have happened."""
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    """To how many different things it must have happened, such as 10 tasks; at most 1,000,000."""
    streak_days: Annotated[int, Field(ge=1, le=MAX_STREAK)] | None = None
    """On how many days in a row it must have happened, at most 100; a day is one of the person's time zone."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.count is None) == (self.streak_days is None):
            message = "Give either `count` or `streakDays`"
            raise ValueError(message)
        return self

    def stored(self) -> dict[str, Any]:
        """As the table keeps them."""
        return self.model_dump(mode="json", exclude_none=True)


class CreateAchievement(Command):
    """A new achievement."""

    code: Code
    """A name for programs: 1 to 50 lower-case letters, digits and underscores, unique and for ever."""
    name: Name
    """What people call it, 1 to 100 characters."""
    description: Praise
    """What has to be done for it, 1 to 500 characters."""
    points: AchievementPoints
    """How many points it pays, once; 1 to 100,000."""
    criteria: AchievementCriteria
    """When it is reached. Who has reached it already gets it with the next event that counts."""
    is_active: bool = True
    """Whether it can be reached."""
    database_id: UUID | None = None
    """A UUID for the new achievement, for clients that make ids themselves; by default the gateway makes one."""


class UpdateAchievement(Command):
    """Changes of an achievement; what is left out stays as it is. Who has it already keeps it, and what it paid."""

    id: AchievementKey
    """The achievement."""
    version: Version
    """The version that was seen; if the achievement has another by now, nothing is changed."""
    name: Maybe[Name]
    """What people call it, 1 to 100 characters."""
    description: Maybe[Praise]
    """What has to be done for it, 1 to 500 characters."""
    points: Maybe[AchievementPoints]
    """How many points it pays, once; 1 to 100,000."""
    criteria: Maybe[AchievementCriteria]
    """When it is reached."""
    is_active: Maybe[bool]
    """Whether it can be reached."""


class CreateReward(Command):
    """A new reward."""

    name: Name
    """What it is, 1 to 100 characters."""
    description: Description | None = None
    """Details, at most 2,000 characters."""
    cost: Cost
    """How many points it costs, 1 to 1,000,000."""
    stock: Stock | None = None
    """How many there are, at most 1,000,000; null for any number."""
    is_active: bool = True
    """Whether it can be redeemed."""
    database_id: UUID | None = None
    """A UUID for the new reward, for clients that make ids themselves; by default the gateway makes one."""


class UpdateReward(Command):
    """Changes of a reward; what is left out stays as it is. What was redeemed already keeps its cost."""

    id: RewardKey
    """The reward."""
    version: Version
    """The version that was seen; if the reward has another by now, nothing is changed. Redeeming counts as a change."""
    name: Maybe[Name]
    """What it is, 1 to 100 characters."""
    description: Maybe[Description | None]
    """Details, at most 2,000 characters; null removes them."""
    cost: Maybe[Cost]
    """How many points it costs, 1 to 1,000,000."""
    stock: Maybe[Stock | None]
    """How many are left, at most 1,000,000; null for any number."""
    is_active: Maybe[bool]
    """Whether it can be redeemed."""


class RedeemReward(Command):
    """The reward to pay for with points."""

    reward_id: RewardKey
    """The reward."""
    database_id: UUID | None = None
    """A UUID for the redemption, so that a request that is sent again redeems nothing twice."""


class FulfillRedemption(Command):
    """The redemption whose reward was handed over."""

    id: RedemptionKey
    """The redemption."""


class RefundRedemption(Command):
    """The redemption to take back."""

    id: RedemptionKey
    """The redemption."""


# achievements


async def create_achievement(work: UnitOfWork, command: CreateAchievement) -> Achievement:
    """Makes an achievement. For admins."""
    values = command.model_dump(exclude={"database_id", "criteria"})
    with locate_taken_id("database_id"):
        made = await work.repository(Achievements).add(
            **values, id=command.database_id, criteria=command.criteria.stored(), created_at=work.now
        )
    work.record(AchievementCreated(made.id, work.viewer_id))
    return made


async def update_achievement(work: UnitOfWork, command: UpdateAchievement) -> Achievement:
    """Changes an achievement, if it still has the version that was seen. For admins."""
    row = check_version(await work.repository(Achievements).lock(command.id), command.version)
    wanted = dict(provided_fields(command, "name", "description", "points", "criteria", "is_active"))
    if "criteria" in wanted:
        wanted["criteria"] = wanted["criteria"].stored()
    values = changed_fields(work, row, wanted)
    if not values:
        return row
    changed = await work.repository(Achievements).change(row, **values)
    work.record(AchievementUpdated(row.id, work.viewer_id, tuple(sorted(values))))
    return changed


# rewards


async def create_reward(work: UnitOfWork, command: CreateReward) -> Reward:
    """Makes a reward. For admins."""
    values = command.model_dump(exclude={"database_id"})
    with locate_taken_id("database_id"):
        made = await work.repository(Rewards).add(**values, id=command.database_id, created_at=work.now)
    work.record(RewardCreated(made.id, work.viewer_id))
    return made


async def update_reward(work: UnitOfWork, command: UpdateReward) -> Reward:
    """Changes a reward, if it still has the version that was seen. For admins."""
    row = check_version(await work.repository(Rewards).lock(command.id), command.version)
    wanted = provided_fields(command, "name", "description", "cost", "stock", "is_active")
    values = changed_fields(work, row, wanted)
    if not values:
        return row
    changed = await work.repository(Rewards).change(row, **values)
    work.record(RewardUpdated(row.id, work.viewer_id, tuple(sorted(values))))
    return changed


async def redeem_reward(work: UnitOfWork, command: RedeemReward) -> RewardRedemption:
    """Pays for a reward with the viewer's points.

    The viewer's balance is held from before it is read until all is written; the stock is taken by the database itself.
    """
    points = work.repository(Points)
    await work.repository(Users).hold([work.viewer_id])
    reward = (await work.repository(Rewards).by_id([command.reward_id])).get(command.reward_id)
    if reward is None:
        raise NotFound.of("reward", path=("reward_id",))
    if not reward.is_active:
        raise Conflict("This reward is not offered any more; choose another.", path=("reward_id",))
    balance = await points.balance(work.viewer_id)
    if balance < reward.cost:
        raise Conflict(f"This reward costs {reward.cost} points; you have {balance}.", path=("reward_id",))
    with locate_taken_id("database_id"):
        redemption = await work.repository(Redemptions).add(
            id=command.database_id,
            user_id=work.viewer_id,
            reward_id=reward.id,
            cost=reward.cost,
            redeemed_at=work.now,
        )
    await _record_stock(work, reward.id)
    work.record(RewardRedeemed(redemption.id, redemption.user_id, reward.id, reward.cost))
    return redemption


async def _record_stock(work: UnitOfWork, reward_id: UUID) -> None:
    """Records the change of the reward's stock, which a trigger of the database has made, unless it is unlimited."""
    reward = (await work.repository(Rewards).by_id([reward_id])).get(reward_id)
    if reward is not None and reward.stock is not None:
        work.record(RewardUpdated(reward_id, work.viewer_id, ("stock",)))


async def fulfill_redemption(work: UnitOfWork, command: FulfillRedemption) -> RewardRedemption:
    """Notes that the person has got the reward; a redemption that is fulfilled already stays as it is. For admins."""
    redemption = await work.repository(Redemptions).lock(command.id)
    if redemption.status is RedemptionStatus.FULFILLED:
        return redemption
    if redemption.status is RedemptionStatus.REFUNDED:
        raise Conflict("This redemption was refunded; there is nothing to hand over.", path=("id",))
    fulfilled = await work.repository(Redemptions).change(redemption, status=RedemptionStatus.FULFILLED)
    work.record(RedemptionFulfilled(fulfilled.id, fulfilled.user_id, fulfilled.reward_id))
    return fulfilled


async def refund_redemption(work: UnitOfWork, command: RefundRedemption) -> RewardRedemption:
    """Gives the points for a redemption back to the person, and the reward to the stock. For admins."""
    redemption = await work.repository(Redemptions).lock(command.id)
    if redemption.status is RedemptionStatus.REFUNDED:
        raise Conflict("This redemption was refunded already.", path=("id",))
    refunded = await work.repository(Redemptions).change(redemption, status=RedemptionStatus.REFUNDED)
    await _record_stock(work, refunded.reward_id)
    work.record(RedemptionRefunded(refunded.id, refunded.user_id, refunded.reward_id, refunded.cost))
    return refunded
