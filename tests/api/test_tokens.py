"""Verified tokens are cached until they expire; the signing key is configured or generated."""

import datetime as dt
import stat
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from gateway.auth import authentication
from gateway.auth.authentication import Authenticator
from gateway.auth.tokens import Tokens, signing_key
from gateway.settings import Settings, SettingsError
from repositories.core.errors import Unauthenticated
from tests.api.client import AUDIENCE, SECRET, Gateway
from tests.api.test_identity import token
from tests.databases import ON_SQLITE


@pytest.fixture
def authenticator(gateway: Gateway) -> Authenticator:
    return gateway.authenticator


@pytest.fixture
def verifications(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tokens that are verified."""
    verified: list[str] = []
    decode = jwt.decode

    def counting(text: str, *arguments: Any, **options: Any) -> Any:
        verified.append(text)
        return decode(text, *arguments, **options)

    monkeypatch.setattr(jwt, "decode", counting)
    return verified


class _Clock(dt.datetime):
    """The time at which tokens are verified."""

    current: dt.datetime

    @classmethod
    def seconds(cls) -> float:
        return cls.current.timestamp()

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "_Clock":
        return cls.fromtimestamp(cls.current.timestamp(), tz)


@ON_SQLITE
async def test_verified_token_is_cached_until_it_expires(
    authenticator: Authenticator, verifications: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An expired token is rejected, cached or not. Clocks may differ by 30 seconds."""
    start = dt.datetime.now(dt.UTC).replace(microsecond=0)
    _Clock.current = start
    clock = SimpleNamespace(time=_Clock.seconds, monotonic=time.monotonic)
    monkeypatch.setattr(authentication, "time", clock)
    monkeypatch.setattr(jwt.api_jwt, "datetime", _Clock)
    text = token(exp=int(start.timestamp()) + 60)
    _, first = await authenticator.verify(text)
    for second in (0, 30, 59, 89):
        _Clock.current = start + dt.timedelta(seconds=second)
        assert (await authenticator.verify(text))[1] is first
    assert verifications == [text]
    for second in (90, 91, 10_000):
        _Clock.current = start + dt.timedelta(seconds=second)
        with pytest.raises(Unauthenticated):
            await authenticator.verify(text)
    _Clock.current = start
    with pytest.raises(Unauthenticated):
        await authenticator.verify(text + "x")


@ON_SQLITE
async def test_long_tokens_are_rejected_before_they_are_read(
    authenticator: Authenticator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over WebSocket, a token can be as long as a message."""
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("this must be rejected before"))
    with pytest.raises(Unauthenticated):
        await authenticator.authenticate("Bearer " + "e" * 8193)
    assert Tokens(SECRET, AUDIENCE).session_of("e" * 8193) is None


@ON_SQLITE
async def test_only_valid_tokens_are_cached(authenticator: Authenticator) -> None:
    issued = [token() for _ in range(5)]
    for each in issued:
        await authenticator.verify(each)
        with pytest.raises(Unauthenticated):
            await authenticator.verify("nonsense")
    assert list(authenticator._cache._entries) == issued


def test_configured_signing_key_is_used(tmp_path: Path) -> None:
    """Nothing is written to disk."""
    configured = SecretStr("x" * 32)
    assert signing_key(Settings(jwt_secret=configured, database_path=tmp_path / "made" / "file")) == "x" * 32
    assert list(tmp_path.iterdir()) == []


def test_signing_key_is_generated_once_beside_the_database_file(tmp_path: Path) -> None:
    """It has 256 bits, only its owner can read it, and the next start finds it."""
    settings = Settings(database_path=tmp_path / "made" / "siso.sqlite3")
    key = signing_key(settings)
    assert len(bytes.fromhex(key)) == 32
    assert stat.S_IMODE((tmp_path / "made" / "jwt_secret").stat().st_mode) == 0o600
    assert signing_key(settings) == key
    assert signing_key(Settings(database_path=tmp_path / "other" / "siso.sqlite3")) != key


def test_signing_key_is_never_generated_for_postgresql(tmp_path: Path) -> None:
    """Several processes and machines need the same key."""
    settings = Settings(database_url=SecretStr("postgresql://host/name"), database_path=tmp_path / "siso.sqlite3")
    with pytest.raises(SettingsError, match="GATEWAY_JWT_SECRET is needed with PostgreSQL"):
        signing_key(settings)
    assert list(tmp_path.iterdir()) == []
