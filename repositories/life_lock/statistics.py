"""Totals over all users."""

from typing import Any

import sqlalchemy as sa

from repositories.kit.filters import Direction, Order
from repositories.kit.repository import Repository
from repositories.kit.statements import Statement, scalar
from repositories.tables.life_lock import Category, Task, TaskAnalytics, UserDashboardStats

_tasks = Task.__table__
_categories = Category.__table__
_analytics = TaskAnalytics.__table__

_refresh: Statement[Any] = Statement(
    sa.text("REFRESH MATERIALIZED VIEW CONCURRENTLY life_lock.user_dashboard_stats"), scalar(int)
)


class DashboardStats(Repository[UserDashboardStats], table=UserDashboardStats, what="user"):
    """Totals over all users, for admins."""

    default_order = (Order("last_activity", Direction.DESC),)

    async def refresh(self) -> None:
        """Brings the materialized view up to date; for the service. SQLite's view always is."""
        if self.connection.engine.is_postgresql:
            await self.connection.rows(_refresh)
