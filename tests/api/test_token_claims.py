"""Claims and headers of tokens with any content: 30 s leeway between clocks, and 401 for everything invalid.

The tokens are signed with the right key, because anybody with the key of an external issuer can write any JSON. The
headers and the claims that are read before the signature is verified are under the control of every caller.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from repositories.engines.database import Database
from tests.api.client import AUDIENCE, SECRET, Gateway
from tests.api.issuer import KEY, SHARED, ask_as, make_claims
from tests.api.sockets import serve_sockets
from tests.databases import ON_SQLITE
from tests.factories import make_user

Sign = Callable[..., str]


def _encode(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


def sign_text(key: str, header: str, claims: str) -> str:
    """A token with the given texts of its header and claims, signed with HS256."""
    signed = _encode(header.encode()) + b"." + _encode(claims.encode())
    return (signed + b"." + _encode(hmac.digest(key.encode(), signed, hashlib.sha256))).decode()


def sign_own(claims: dict[str, Any] | str, header: str = '{"alg":"HS256","typ":"JWT"}') -> str:
    text = claims if isinstance(claims, str) else json.dumps(_own_claims(**claims))
    return sign_text(SECRET, header, text)


def sign_external(claims: dict[str, Any] | str, header: str = '{"alg":"HS256","typ":"JWT"}') -> str:
    text = claims if isinstance(claims, str) else json.dumps(make_claims(**claims))
    return sign_text(SHARED, header, text)


def _own_claims(**changes: Any) -> dict[str, Any]:
    return {"sub": "00000000-0000-7000-8000-000000000001", "aud": AUDIENCE, "exp": int(time.time()) + 3600} | changes


@ON_SQLITE
@pytest.mark.parametrize("sign", [sign_own, sign_external])
async def test_clocks_may_differ_by_30_seconds(external_gateway: Gateway, sign: Sign) -> None:
    """``iat`` and ``nbf`` in the future, and ``exp`` in the past. Two seconds are reserved for the run of the test."""
    now = int(time.time())
    accepted: list[dict[str, Any]] = [
        {"iat": now + 1},
        {"iat": now + 28},
        {"nbf": now + 2},
        {"nbf": now + 28},
        {"exp": now - 28},
    ]
    accepted += [{"iat": now + 1.5}, {"iat": now - 10**6}]
    rejected = [{"iat": now + 33}, {"nbf": now + 33}, {"exp": now - 30}, {"exp": 0}, {"exp": -5}]
    changes = {"email": ...} if sign is sign_external else {}
    statuses = [(await ask_as(external_gateway, sign(changes | claims))).status_code for claims in accepted]
    assert statuses == [200] * len(accepted)
    statuses = [(await ask_as(external_gateway, sign(changes | claims))).status_code for claims in rejected]
    assert statuses == [401] * len(rejected)


@ON_SQLITE
async def test_token_of_es256_with_an_early_nbf_is_accepted(external_gateway: Gateway) -> None:
    now = int(time.time())
    assert (await ask_as(external_gateway, KEY.sign(make_claims(nbf=now + 2, iat=now + 1)))).status_code == 200


NESTED = "[" * 1500 + "]" * 1500
NUMBERS = ["1" + "0" * 400, "1e400", "-1e400", "NaN", "Infinity", "1e15", "9" * 5000, "-1", "1e-400"]
OTHER_VALUES = ["null", "true", '"tomorrow"', "[]", "{}", '["x"]', '{"a": 1}', '"\\ud800"', '"\\u0000"', NESTED]


def _with_claim(claims: dict[str, Any], name: str, value: str) -> str:
    """The claims as JSON, with one claim whose value is any text."""
    others = json.dumps({key: each for key, each in claims.items() if key != name})
    return f'{others[:-1]}, "{name}": {value}}}'


@ON_SQLITE
@pytest.mark.parametrize("sign", [sign_own, sign_external])
async def test_no_value_of_a_claim_is_an_internal_error(external_gateway: Gateway, sign: Sign) -> None:
    """A value that makes no sense is rejected; one that does not matter is ignored."""
    valid = _own_claims() if sign is sign_own else make_claims()
    names = [
        "exp",
        "iat",
        "nbf",
        "sub",
        "aud",
        "iss",
        "sid",
        "zoneinfo",
        "app_metadata",
        "email",
        "jti",
        "email_verified",
    ]
    names += ["user_metadata", "given_name", "role"]
    statuses: dict[str, int] = {}
    for name in names:
        for value in (*NUMBERS, *OTHER_VALUES):
            answer = await ask_as(external_gateway, sign(_with_claim(valid, name, value)))
            statuses[f"{name}: {value[:20]} ({len(value)})"] = answer.status_code
    for value in OTHER_VALUES:
        answer = await ask_as(external_gateway, sign(_with_claim(valid, "app_metadata", f'{{"roles": {value}}}')))
        statuses[f"roles: {value[:20]}"] = answer.status_code
    assert set(statuses.values()) <= {200, 401}, statuses
    wrong_ends = [value for value in (*NUMBERS, *OTHER_VALUES) if value != "null"]
    assert {statuses[f"exp: {value[:20]} ({len(value)})"] for value in wrong_ends} == {401}


@ON_SQLITE
@pytest.mark.parametrize("sign", [sign_own, sign_external])
async def test_header_or_claims_of_any_shape_are_rejected(external_gateway: Gateway, sign: Sign) -> None:
    """Before the signature is verified, too."""
    texts = [NESTED, "{" + '"a":{' * 800 + "}" * 800 + "}", "", "5", "null", '"x"', "[]", "{", "\ufffe", "9" * 5000]
    tokens = [sign(text) for text in texts]
    tokens += [sign({}, text) for text in texts]
    headers = [f'{{"alg": {value}}}' for value in OTHER_VALUES]
    headers += [f'{{"alg": "HS256", "crit": {value}}}' for value in OTHER_VALUES if value != "null"]
    headers += [f'{{"alg": "ES256", "kid": {value}}}' for value in OTHER_VALUES]
    headers += ['{"alg": "HS256", "b64": false}']
    tokens += [sign({}, header) for header in headers]
    tokens += ["", ".", "..", "...", "a.b.c", "e30.e30.", "\xff.\xff.\xff", "." * 8000]
    for token in tokens:
        raw = {"Authorization": f"Bearer {token}".encode("latin-1", "replace")}
        response = await external_gateway.http.post("/graphql", json={"query": "{ __typename }"}, headers=raw)  # type: ignore[arg-type]
        assert response.status_code == 401, token[:100]


@ON_SQLITE
async def test_authorization_of_a_socket_must_be_text(gateway: Gateway, database: Database) -> None:
    nested: Any = "x"
    for _ in range(30):
        nested = {"a": [nested]}
    ada = await make_user(database)
    async with serve_sockets(gateway) as site:
        for value in (5, ["Bearer", gateway.token(ada)], {"a": 1}, nested, True, ""):
            async with site.peer() as peer:
                await peer.send("connection_init", payload={"Authorization": value})
                assert (await peer.wait_closed())[0] == 4403
