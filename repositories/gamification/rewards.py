"""Rewards and what was bought of them."""

from repositories.aggregates.repository import Repository
from repositories.sql.filters import Direction, Order
from repositories.tables.gamification import Reward, RewardRedemption


class Rewards(Repository[Reward], table=Reward):
    """What points buy."""

    default_order = (Order("cost"),)
    searched = ("name", "description")


class Redemptions(Repository[RewardRedemption], table=RewardRedemption, noun="redemption"):
    """What was bought. A redemption takes one from the stock of its reward, which the database sees to by itself."""

    default_order = (Order("redeemed_at", Direction.DESC), Order("id", Direction.DESC))
