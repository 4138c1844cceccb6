"""Commands on rewards beyond the derived ones, and the input for the criteria of achievements."""

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, model_validator

from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.core.errors import Conflict, NotFound
from repositories.gamification.events import RedemptionFulfilled, RedemptionRefunded
from repositories.gamification.points import Points
from repositories.gamification.rewards import Redemptions, Rewards
from repositories.identity import Users
from repositories.sql.aggregate import aggregates
from repositories.tables.gamification import (
    MAX_COUNT,
    MAX_STREAK,
    Achievement,
    CountedEvent,
    RedemptionStatus,
    RewardRedemption,
)
from resolvers.aggregates.derived_commands import row_command, takes
from resolvers.aggregates.derived_inputs import new_row_input, set_json_input
from resolvers.aggregates.handlers import lock_row
from resolvers.aggregates.rules import Values
from resolvers.aggregates.transitions import transition
from resolvers.validation.command import Command, locate_taken_id


class AchievementCriteria(Command):
    """The condition for reaching an achievement: either `count` or `streakDays` must be given."""

    event: CountedEvent = CountedEvent.TASK_COMPLETED
    """The event that counts."""
    count: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    """The number of different objects to which the event must happen, such as 10 tasks; 1 to 1,000,000."""
    streak_days: Annotated[int, Field(ge=1, le=MAX_STREAK)] | None = None
    """The number of consecutive days on which the event must happen, in the user's time zone; 1 to 100."""

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.count is None) == (self.streak_days is None):
            message = "Give either `count` or `streakDays`"
            raise ValueError(message)
        return self


set_json_input(Achievement.criteria, AchievementCriteria)


@takes(new_row_input(aggregates[RewardRedemption], "RedeemReward", "The reward to redeem points for."))
async def redeem_reward(work: UnitOfWork, command: Any) -> RewardRedemption:
    """Redeems the viewer's points for a reward, which decreases its stock.

    A request with a `databaseId` that is sent twice redeems points only once.
    Possible errors: NOT_FOUND if the reward does not exist, CONFLICT if it is inactive or sold out, if the viewer has
    too few points, or if the `databaseId` is taken.
    """
    points = work.repository(Points)
    await work.repository(Users).hold([work.viewer_id])  # keeps the balance from changing until the commit
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
    await _record_stock(work, reward.id, taken=1)
    work.record_added([redemption])
    return redemption


async def _record_stock(work: UnitOfWork, reward_id: UUID, *, taken: int) -> None:
    """Records the change of the reward's stock, which a trigger of the database has made, unless it is unlimited."""
    reward = (await work.repository(Rewards).by_id([reward_id])).get(reward_id)
    if reward is not None and reward.stock is not None:
        work.record_changed(reward.replace(stock=reward.stock + taken), reward)


@transition(
    RewardRedemption,
    RedemptionFulfilled,
    "The redemption whose reward the user has received.",
    errors="CONFLICT if the redemption is REFUNDED",
)
def fulfill_redemption(work: UnitOfWork, redemption: RewardRedemption) -> Values:
    """Records that the user has received the reward. A FULFILLED redemption stays as it is. For administrators."""
    if redemption.status is RedemptionStatus.REFUNDED:
        raise Conflict("This redemption was refunded; there is nothing to hand over.", path=("id",))
    return {"status": RedemptionStatus.FULFILLED}


@row_command(RewardRedemption, "The redemption to refund.")
async def refund_redemption(work: UnitOfWork, command: Any) -> RewardRedemption:
    """Returns the points of a redemption to the user, and increases the stock of the reward. For administrators.

    Possible errors: NOT_FOUND, CONFLICT if the redemption is REFUNDED.
    """
    redemption = await lock_row(work, RewardRedemption, command)
    if redemption.status is RedemptionStatus.REFUNDED:
        raise Conflict("This redemption was refunded already.", path=("id",))
    refunded = await work.repository(Redemptions).change(redemption, status=RedemptionStatus.REFUNDED)
    await _record_stock(work, refunded.reward_id, taken=-1)
    work.record_changed(redemption, refunded, RedemptionRefunded)
    return refunded
