"""Rewards and their redemptions."""

from repositories.aggregates.repository import Repository
from repositories.tables.gamification import Reward, RewardRedemption


class Rewards(Repository[Reward], table=Reward):
    """Rewards that users can redeem points for."""


class Redemptions(Repository[RewardRedemption], table=RewardRedemption):
    """Redemptions of rewards. A trigger of the database decreases the stock of the reward by 1."""
