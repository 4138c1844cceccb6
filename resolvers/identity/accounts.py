"""The services for accounts: hashing of passwords, tokens, and limits on attempts."""

import asyncio
import hashlib
import math
import os
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeVar
from uuid import UUID

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.low_level import ARGON2_VERSION
from limits import RateLimitItem, parse

from repositories.core.errors import RateLimited, ServiceUnavailable
from repositories.permissions import RoleName
from repositories.tables.identity import User
from resolvers.identity.inputs import normalize_password
from resolvers.services.rate_limits import RateLimitStore

T = TypeVar("T")

ARGON2ID = PasswordHasher()
"""RFC 9106, second recommendation: 64 MiB, three passes."""


def _random_hash(hasher: PasswordHasher) -> str:
    """A hash that no password has, and that takes as long to verify as a stored one.

    It is random and not computed, because that would take 64 MiB at every start.
    """
    salt, digest = (b64encode(os.urandom(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len))
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v={ARGON2_VERSION}${costs}${salt}${digest}"


PASSWORD_THREADS = max(1, (os.cpu_count() or 1) // 2)
_NICENESS = 10


def _lower_priority() -> None:
    """Lets the event loop run before this thread, so that sign-ins do not delay all other requests.

    Only on Linux does a thread have a priority of its own. argon2's threads inherit it.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class Passwords:
    """Hashes and verifies passwords with argon2id.

    Each computation takes 64 MiB, so only as many run at a time as there are threads: one per two cores. A thread is
    occupied until its computation ends, also if the request that needed the result was cancelled.
    """

    def __init__(self, hasher: PasswordHasher = ARGON2ID) -> None:
        self._hasher = hasher
        self._nobody = _random_hash(hasher)
        self._threads = ThreadPoolExecutor(PASSWORD_THREADS, "password", initializer=_lower_priority)

    async def hash(self, password: str) -> str:
        """The hash to store."""
        return await self._run(self._hasher.hash, normalize_password(password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether the password has this hash. None takes as long to check as a hash, and returns False."""
        is_right = await self._run(self._verify, stored or self._nobody, normalize_password(password))
        return is_right and stored is not None

    async def _run(self, compute: Callable[..., T], *texts: str) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, compute, *texts)

    def _verify(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    def is_outdated(self, stored: str) -> bool:
        """Whether the hash was computed with other parameters than the current ones."""
        return self._hasher.check_needs_rehash(stored)


class Attempt(StrEnum):
    """The kinds of attempts, which are counted separately.

    Passwords of an account are counted per client. Those from unknown clients are also counted together.
    """

    PASSWORD_FROM_CLIENT = "password_from_client"  # noqa: S105 (the name of a counter)
    PASSWORD_OF_ACCOUNT = "password_of_account"  # noqa: S105 (the name of a counter)
    SIGN_IN_FROM_ADDRESS = "sign_in_from_address"
    SIGN_UP_FROM_ADDRESS = "sign_up_from_address"
    REFRESH_FROM_ADDRESS = "refresh_from_address"
    MAIL_FROM_ADDRESS = "mail_from_address"
    MAIL_TO_RECIPIENT_FROM_CLIENT = "mail_to_recipient_from_client"
    MAIL_TO_RECIPIENT = "mail_to_recipient"
    ACCOUNT_LOOKUP = "account_lookup"


class Attempts:
    """Counts attempts within a period that begins with the first one.

    The store sees only a hash of the subject, such as an account and a network. While the store is unavailable,
    attempts are rejected: otherwise passwords could be tried without a limit.
    """

    def __init__(self, store: str, rates: Mapping[Attempt, str]) -> None:
        self._store = RateLimitStore(store, "attempts", "signing up, signing in and password checks are rejected")
        self._rates = {attempt: parse(rate) for attempt, rate in rates.items()}

    async def count(self, attempt: Attempt, *subject: object) -> None:
        """Counts one attempt, before it is checked, so that concurrent attempts all count.

        Raises RateLimited if there were too many, and ServiceUnavailable if the store is unavailable.
        """
        wait = await self._store.breaker.call(lambda: self._count(*self._key(attempt, subject)))
        if wait is None:
            raise ServiceUnavailable("Attempts cannot be counted right now, so none is allowed. Try again in a moment.")
        if wait:
            raise RateLimited(wait)

    async def forget(self, attempt: Attempt, *subject: object) -> None:
        """Resets the count to zero, if the store is available."""
        await self._store.breaker.call(lambda: self._store.limiter.clear(*self._key(attempt, subject)))

    async def close(self) -> None:
        await self._store.close()

    async def _count(self, *key: Any) -> int:
        """The seconds to wait before the next attempt; 0 if this one is allowed."""
        if await self._store.limiter.hit(*key):
            return 0
        window = await self._store.limiter.get_window_stats(*key)
        return max(1, math.ceil(window.reset_time - time.time()))

    def _key(self, attempt: Attempt, subject: tuple[object, ...]) -> tuple[RateLimitItem, str, str]:
        text = "\n".join(map(str, subject))
        return self._rates[attempt], attempt.value, hashlib.sha256(text.encode()).hexdigest()


class SignUpMode(StrEnum):
    """Who may create an account with `signUp`."""

    OPEN = "open"
    CLOSED = "closed"
    INVITE = "invite"


class TokenIssuer(Protocol):
    """Signs and verifies the tokens of this gateway."""

    def issue(self, user: User, roles: frozenset[RoleName], lifetime: int, session: UUID | None = None) -> str:
        """An access token."""
        ...

    def issue_refresh(self, session: UUID, expires_at: datetime) -> str:
        """A refresh token of a session. No two refresh tokens are equal."""
        ...

    def session_of(self, refresh_token: str) -> UUID | None:
        """The session of a refresh token of this gateway, expired or not. None for any other text."""
        ...

    def issue_device(self, user: User) -> str:
        """A token by which a device is known to its user's account until the password changes."""
        ...

    def device_of(self, device_token: str, user: User) -> str | None:
        """The id of the device if the token is valid and was issued for the user's current password, else None."""
        ...


@dataclass(frozen=True, slots=True)
class Accounts:
    """The services for accounts, and the lifetimes of tokens in seconds."""

    passwords: Passwords
    attempts: Attempts
    tokens: TokenIssuer
    access_token_lifetime: int
    refresh_token_lifetime: int
    sign_up_mode: SignUpMode = SignUpMode.OPEN
