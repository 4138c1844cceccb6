"""The keys of an external issuer: when they are fetched, what is accepted, and that no request waits for long."""

import asyncio
import gzip
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from gateway.auth import issuer_keys
from gateway.auth.issuer_keys import IssuerKeys
from repositories.core.errors import ServiceUnavailable
from repositories.engines.database import Database
from tests.api.client import Gateway
from tests.api.issuer import KEY, RSA_KEY, Clock, KeyServer, SigningKey, ask_as, make_claims, publish_keys
from tests.databases import ON_SQLITE
from tests.factories import make_user


async def is_known(keys: IssuerKeys, key_id: str | None) -> bool:
    """Whether the key is found; False if the issuer does not publish it."""
    try:
        return (await keys.find(key_id)).key_id == key_id
    except jwt.InvalidKeyError:
        return False


async def test_unknown_key_is_fetched_once_per_30_seconds(clock: Clock) -> None:
    """A rotation just after the key was not found takes effect after 30 s, and at once for any other key."""
    second, third, fourth = SigningKey("second"), SigningKey("third"), SigningKey("fourth")
    async with publish_keys(KEY) as issuer:
        keys = IssuerKeys(issuer.url, 300, clock)
        assert await is_known(keys, "first")
        issuer.publish(KEY, second)
        assert await is_known(keys, "second")
        assert issuer.request_count == 2
        assert not await is_known(keys, "third")
        assert issuer.request_count == 3
        issuer.publish(KEY, second, third, fourth)
        clock.now += 29
        assert [await is_known(keys, "third") for _ in range(20)] == [False] * 20
        assert issuer.request_count == 3
        clock.now += 1
        found = await asyncio.gather(*(is_known(keys, "third") for _ in range(20)))
        assert found == [True] * 20
        assert await is_known(keys, "fourth")
        assert issuer.request_count == 4


async def test_key_of_a_rotation_is_found_at_once(clock: Clock) -> None:
    """Although another unknown key was not found just before."""
    async with publish_keys(KEY) as issuer:
        keys = IssuerKeys(issuer.url, 300, clock)
        assert not await is_known(keys, "invented")
        issuer.publish(KEY, SigningKey("second"))
        assert await is_known(keys, "second")


async def test_invented_keys_cause_a_bounded_number_of_fetches(clock: Clock) -> None:
    """Ten at once, and one in three seconds. A key that is published meanwhile is found within three seconds."""
    async with publish_keys(KEY) as issuer:
        keys = IssuerKeys(issuer.url, 3000, clock)
        assert await is_known(keys, "first")
        for index in range(1200):
            with pytest.raises((jwt.InvalidKeyError, ServiceUnavailable)):
                await keys.find(f"invented {index}")
        assert issuer.request_count == 1 + 10
        assert len(keys._not_found) <= 1000
        issuer.publish(KEY, SigningKey("second"))
        with pytest.raises(ServiceUnavailable):
            await keys.find("second")
        clock.now += 3
        assert await is_known(keys, "second")
        assert issuer.request_count == 1 + 10 + 1


async def test_concurrent_lookups_share_one_fetch(clock: Clock) -> None:
    """It goes on if the request that started it is cancelled."""
    async with publish_keys(KEY) as issuer:
        issuer.may_respond.clear()
        keys = IssuerKeys(issuer.url, 60, clock)
        waiting = [asyncio.ensure_future(keys.find("first")) for _ in range(50)]
        while not issuer.request_count:  # noqa: ASYNC110 (no event announces the request)
            await asyncio.sleep(0)
        waiting.pop(0).cancel()
        issuer.may_respond.set()
        assert {key.key_id for key in await asyncio.gather(*waiting)} == {"first"}
        assert issuer.request_count == 1


async def test_known_keys_stay_valid_while_the_issuer_is_down(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The gateway tries again once per interval. Withdrawn keys become invalid when the issuer is back."""
    async with publish_keys(KEY, RSA_KEY) as issuer:
        keys = IssuerKeys(issuer.url, 60, clock)
        assert await is_known(keys, "first")
        await issuer.stop()
        clock.now += 10_000
        assert [await is_known(keys, "first") for _ in range(5)] == [True] * 5
        assert caplog.text.count("cannot be fetched") == 1
        with pytest.raises(ServiceUnavailable):  # the key may have been published in the meantime
            await keys.find("unknown")
        assert caplog.text.count("cannot be fetched") == 1
        issuer.publish(RSA_KEY)
        await issuer.start()
        assert await is_known(keys, "first")
        clock.now += 10_000
        assert not await is_known(keys, "first")
        assert await is_known(keys, "rsa")
        assert issuer.request_count == 2


async def test_keys_in_use_are_fetched_in_the_background(clock: Clock) -> None:
    """After the interval, a request gets the known key at once, and the fetch goes on beside it."""
    async with publish_keys(KEY) as issuer:
        keys = IssuerKeys(issuer.url, 60, clock)
        assert await is_known(keys, "first")
        issuer.may_respond.clear()
        clock.now += 60
        key = await asyncio.wait_for(keys.find("first"), 1)
        assert key.key_id == "first"
        fetch = keys._fetch_task
        assert fetch is not None
        issuer.publish(RSA_KEY)
        issuer.may_respond.set()
        await fetch
        assert not await is_known(keys, "first")


def _nested(levels: int) -> bytes:
    return b'{"keys": ' + b"[" * levels + b"]" * levels + b"}"


_SETS = {
    "nothing": b"",
    "HTML": b"<html>",
    "a list": b"[]",
    "keys that are no list": b'{"keys": 5}',
    "null": b"null",
    "no keys": b'{"keyz": []}',
    "an object of keys": b'{"keys": {"a": 1}}',
    "nested keys": _nested(100_000),
    "nested objects": b'{"keys":' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    "not UTF-8": b'{"keys": ["\xff"]}',
    "a huge number": b'{"keys": ' + b"9" * 100_000 + b"}",
    "too large": json.dumps({"keys": [SigningKey("first").jwk], "padding": "x" * 256 * 1024}).encode(),
    "compressed": gzip.compress(json.dumps({"keys": [SigningKey("first").jwk]}).encode()),
}


@pytest.mark.parametrize("answer", _SETS.values(), ids=_SETS)
async def test_invalid_key_set_is_ignored(clock: Clock, answer: bytes) -> None:
    async with publish_keys(KEY) as issuer:
        keys = IssuerKeys(issuer.url, 60, clock)
        before = await keys.find("first")
        issuer.response = answer
        clock.now += 10_000
        assert await keys.find("first") is before
        with pytest.raises(ServiceUnavailable):
            await keys.find("unknown")
        assert issuer.request_count == 2


async def _endless() -> AsyncIterator[bytes]:
    """A response without an end and without a length."""
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"10000\r\n" + b" " * 0x10000 + b"\r\n"


async def _slow() -> AsyncIterator[bytes]:
    """A response that arrives byte by byte, so that no single read takes long."""
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
    while True:
        await asyncio.sleep(0.02)
        yield b" "


async def _failing() -> AsyncIterator[bytes]:
    yield b"HTTP/1.1 500 Oops\r\nContent-Length: 12\r\nConnection: close\r\n\r\n" + b'{"keys": []}'


@pytest.mark.parametrize("response", [_endless, _slow, _failing])
async def test_response_is_bounded_in_size_and_time(
    clock: Clock, response: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with publish_keys(KEY) as issuer:
        keys = IssuerKeys(issuer.url, 60, clock)
        before = await keys.find("first")
        monkeypatch.setattr(issuer_keys, "_FETCH_TIMEOUT", 2.0)
        issuer.raw = response()
        clock.now += 10_000
        assert await keys.find("first") is before
        with pytest.raises(ServiceUnavailable):
            await keys.find("unknown")
        assert issuer.request_count == 2
        assert keys._fetch_task is None


async def test_redirects_are_not_followed(clock: Clock) -> None:
    """A redirect could lead to keys of somebody else, or to a host inside the network."""
    async with publish_keys(SigningKey("elsewhere")) as elsewhere, publish_keys(KEY) as issuer:

        async def redirect() -> AsyncIterator[bytes]:
            yield b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % elsewhere.url.encode()

        issuer.raw = redirect()
        with pytest.raises(ServiceUnavailable):
            await IssuerKeys(issuer.url, 60, clock).find("elsewhere")
        assert (issuer.request_count, elsewhere.request_count) == (1, 0)


async def test_unusable_keys_are_ignored(clock: Clock) -> None:
    """Secrets, private keys, unknown types and invalid entries do not affect the other keys."""
    private = SigningKey("private")
    private.jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.private)) | {"kid": "private", "alg": "ES256"}
    odd = [private, SigningKey("enc", use="enc"), SigningKey("es512", alg="ES512")]
    odd += [SigningKey("x", kid=value) for value in (["first"], {"a": 1}, 5, True)]
    odd += [SigningKey("y", alg=["ES256"]), SigningKey("y", kty=["EC"]), SigningKey("y", x=5), SigningKey("y", crv={})]
    async with publish_keys(*odd, KEY) as issuer:
        secret = {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "secret", "alg": "HS256"}
        nested: Any = "y"
        for _ in range(100):
            nested = [nested]
        issuer.response["keys"] += [
            secret,
            {"kty": "magic", "kid": "magic"},
            {},
            "text",
            None,
            nested,
            5,
            {"kid": "x", "kty": "EC"},
            {"kid": "y", "kty": nested, "alg": nested},
        ]
        issuer.response["keys"].append({name: value for name, value in RSA_KEY.jwk.items() if name != "alg"})
        keys = IssuerKeys(issuer.url, 60, clock)
        assert (await keys.find("first")).algorithm_name == "ES256"
        assert (await keys.find("rsa")).algorithm_name == "RS256"
        for key_id in ("private", "enc", "es512", "secret", "magic", "x", "y", None):
            assert not await is_known(keys, key_id)


async def test_unreachable_issuer_without_known_keys_is_503(
    external_gateway: Gateway, key_server: KeyServer, clock: Clock
) -> None:
    """The gateway tries again after five seconds."""
    await key_server.stop()
    for _ in range(3):
        answer = await ask_as(external_gateway, KEY.sign(make_claims()))
        assert answer.status_code == 503
        assert answer.json()["errors"][0]["extensions"] == {"code": "SERVICE_UNAVAILABLE"}
    await key_server.start()
    assert (await ask_as(external_gateway, KEY.sign(make_claims()))).status_code == 503
    clock.now += 5
    assert (await ask_as(external_gateway, KEY.sign(make_claims()))).status_code == 200


@ON_SQLITE
async def test_hanging_issuer_delays_only_tokens_whose_key_is_unknown(
    database: Database, external_gateway: Gateway, key_server: KeyServer, clock: Clock
) -> None:
    """Also at the start, when no key is known yet. These get 503 after two seconds, all others are answered at once."""
    ada = await make_user(database)
    key_server.may_respond.clear()
    started = time.monotonic()
    waiting = [asyncio.ensure_future(ask_as(external_gateway, KEY.sign(make_claims()))) for _ in range(20)]
    while not key_server.request_count:  # noqa: ASYNC110 (no event announces the request)
        await asyncio.sleep(0)
    own = await ask_as(external_gateway, external_gateway.token(ada))
    assert (own.status_code, time.monotonic() - started < 1) == (200, True)
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {503}
    assert 2 <= time.monotonic() - started < 4
    assert key_server.request_count == 1

    claims = make_claims()
    key_server.may_respond.set()
    assert (await ask_as(external_gateway, KEY.sign(claims))).status_code == 200

    key_server.may_respond.clear()
    clock.now += 100
    started = time.monotonic()
    unknown = asyncio.ensure_future(ask_as(external_gateway, SigningKey("unknown").sign(make_claims())))
    answers = [await ask_as(external_gateway, KEY.sign(claims | {"jti": str(index)})) for index in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    assert time.monotonic() - started < 1.5
    assert (await unknown).status_code == 503
    key_server.may_respond.set()
