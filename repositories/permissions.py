"""The roles of users and the permissions that each role grants.

Permissions are named after what they protect in the domains. The frameworks import this module and name no domain
themselves.
"""

from collections.abc import Mapping
from enum import StrEnum

from repositories.described_enum import DescribedEnum


class RoleName(DescribedEnum):
    """A role of a signed-in user. Roles decide what the user may do."""

    USER = "user", "Every user with an account."
    PARTNERSHIP_MANAGER = "partnership_manager", "Manages partners and their referrals."
    CATALOG_MANAGER = "catalog_manager", "Manages products, their categories and their stock."
    ORDER_MANAGER = "order_manager", "Manages the orders of all users."
    ADMIN = "admin", "Sees and administers everything."


class Permission(StrEnum):
    """Permissions that root fields and mutations require. Policies decide separately which rows a viewer may see."""

    TASK_READ = "task:read"
    TASK_WRITE = "task:write"
    STATISTICS_READ = "statistics:read"
    STATISTICS_REFRESH = "statistics:refresh"
    EVENT_READ = "event:read"
    ACCOUNT_READ = "account:read"
    ACCOUNT_WRITE = "account:write"
    ADMINISTRATION_READ = "administration:read"
    ADMINISTRATION_WRITE = "administration:write"
    PARTNERSHIP_READ = "partnership:read"
    PARTNERSHIP_WRITE = "partnership:write"
    GAMIFICATION_READ = "gamification:read"
    GAMIFICATION_MANAGE = "gamification:manage"
    REWARD_REDEEM = "reward:redeem"
    CLIENT_READ = "client:read"
    CLIENT_WRITE = "client:write"
    CATALOG_WRITE = "catalog:write"
    ORDER_WRITE = "order:write"
    ORDER_MANAGE = "order:manage"
    COMMERCE_READ = "commerce:read"


Requirement = Permission | frozenset[RoleName]
"""What a field requires: a permission, or one of several roles."""


_USER = frozenset(
    {
        Permission.TASK_READ,
        Permission.TASK_WRITE,
        Permission.EVENT_READ,
        Permission.ACCOUNT_READ,
        Permission.ACCOUNT_WRITE,
        Permission.GAMIFICATION_READ,
        Permission.REWARD_REDEEM,
        Permission.CLIENT_READ,
        Permission.CLIENT_WRITE,
        Permission.ORDER_WRITE,
    }
)

PERMISSIONS: Mapping[RoleName, frozenset[Permission]] = {
    RoleName.USER: _USER,
    RoleName.PARTNERSHIP_MANAGER: _USER | {Permission.PARTNERSHIP_READ, Permission.PARTNERSHIP_WRITE},
    RoleName.CATALOG_MANAGER: _USER | {Permission.CATALOG_WRITE},
    RoleName.ORDER_MANAGER: _USER | {Permission.ORDER_MANAGE, Permission.COMMERCE_READ},
    RoleName.ADMIN: frozenset(Permission),
}
