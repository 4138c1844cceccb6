"""Rewards and what was bought of them."""

from repositories.aggregates.repository import Repository
from repositories.tables.gamification import Reward, RewardRedemption


class Rewards(Repository[Reward], table=Reward):
    """Rewards."""


class Redemptions(Repository[RewardRedemption], table=RewardRedemption):
    """Redemptions of rewards. A trigger of the database takes one item from the stock of the reward."""
