"""Verified tokens are cached until they expire; the signing key is configured or generated."""

import datetime as dt
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from pydantic import SecretStr

from gateway.auth import tokens as identity
from gateway.auth.tokens import Tokens, signing_key
from gateway.settings import Settings, SettingsError
from repositories.core.errors import Unauthenticated
from tests.api.client import AUDIENCE, SECRET
from tests.api.test_identity import token


class _Clock(dt.datetime):
    """The time at which tokens are issued and verified."""

    current: dt.datetime

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "_Clock":
        return cls.fromtimestamp(cls.current.timestamp(), tz)


async def test_verified_token_is_cached_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired token is rejected, cached or not. Clocks may differ by 30 seconds."""
    verified: list[str] = []
    decode = jwt.decode

    def counting(text: str, *arguments: Any, **options: Any) -> Any:
        verified.append(text)
        return decode(text, *arguments, **options)

    tokens = Tokens(SECRET, AUDIENCE)
    start = dt.datetime.now(dt.UTC).replace(microsecond=0)
    _Clock.current = start
    monkeypatch.setattr(identity, "dt", SimpleNamespace(datetime=_Clock, UTC=dt.UTC))
    monkeypatch.setattr(jwt.api_jwt, "datetime", _Clock)
    monkeypatch.setattr(jwt, "decode", counting)
    text = token(exp=int(start.timestamp()) + 60)
    _, first = await tokens.verify(text)
    for second in (0, 30, 59, 89):
        _Clock.current = start + dt.timedelta(seconds=second)
        assert (await tokens.verify(text))[1] is first
    assert verified == [text]
    for second in (90, 91, 10_000):
        _Clock.current = start + dt.timedelta(seconds=second)
        with pytest.raises(Unauthenticated):
            await tokens.verify(text)
    _Clock.current = start
    with pytest.raises(Unauthenticated):
        await tokens.verify(text + "x")


async def test_long_tokens_are_rejected_before_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over WebSocket, a token can be as long as a message."""
    tokens = Tokens(SECRET, AUDIENCE)
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("this must be rejected before"))
    with pytest.raises(Unauthenticated):
        await tokens.verify_header("Bearer " + "e" * 8193)
    assert tokens.session_of("e" * 8193) is None


async def test_only_valid_tokens_are_cached() -> None:
    tokens = Tokens(SECRET, AUDIENCE)
    issued = [token() for _ in range(5)]
    for each in issued:
        await tokens.verify(each)
        with pytest.raises(Unauthenticated):
            await tokens.verify("nonsense")
    assert list(tokens._cache._entries) == issued


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
