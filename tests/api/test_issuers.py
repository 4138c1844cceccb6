"""Tokens of an external issuer: which keys verify them, which account they belong to, and when they are rejected."""

import asyncio
import base64
import json
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr

from gateway.auth.issuer_keys import IssuerKeys
from gateway.auth.issuers import ExternalAccounts, JWKSIssuer, create_external_accounts
from gateway.settings import Settings, SettingsError, load_settings
from repositories.account_messages import AccountTokens
from repositories.administration import RoleGrants, Roles
from repositories.core.clock import now
from repositories.core.errors import Unauthenticated
from repositories.core.ids import new_id
from repositories.core.viewer import SERVICE, Viewer
from repositories.engines.database import Database
from repositories.identity import Users, placeholder_email
from repositories.permissions import RoleName
from repositories.sql.filters import SortKey
from repositories.tables.identity import TokenPurpose, User, UserRole, UserStatus
from resolvers.identity.outside import account_key
from resolvers.reactions import REACTIONS
from tests.api.client import Gateway
from tests.api.issuer import EXTERNAL_AUDIENCE, KEY, RSA_KEY, SHARED, URL, KeyServer, SigningKey, ask_as, make_claims
from tests.api.stored_rows import event_summaries as recorded
from tests.databases import ON_SQLITE
from tests.factories import make_user
from tests.repositories.support import open_snapshot


async def all_users(database: Database) -> list[User]:
    """All accounts, oldest first."""
    async with open_snapshot(database) as snapshot:
        return await Users(snapshot).find(order=[SortKey("created_at"), SortKey("id")], limit=100)


async def test_first_request_creates_an_account(external_gateway: Gateway) -> None:
    """It has the issuer's id, name and e-mail address, whichever key signed the token. The second request finds it."""
    claims = make_claims(email_verified=True)
    tokens = [KEY.sign(claims), RSA_KEY.sign(claims), jwt.encode(claims, SHARED, "HS256")]
    for token in tokens:
        assert (await ask_as(external_gateway, token)).json() == {"data": {"viewer": {"email": "grace@navy.example"}}}
    (user,) = await all_users(external_gateway.database)
    assert user.id == UUID(claims["sub"])
    assert (user.first_name, user.last_name, user.email_verified) == ("Grace Brewster", "Hopper", True)
    assert (user.role, user.status, user.password_hash) == (UserRole.USER, UserStatus.ACTIVE, None)
    assert [event[:4] for event in await recorded(external_gateway.database)] == [
        ("UserProvisioned", "user", user.id, user.id)
    ]
    client = external_gateway.client_with_token(tokens[0])
    await client.do("createTask", "task { id }", title="x")
    assert (await external_gateway.client(user).data("{ tasks { totalCount } }")) == {"tasks": {"totalCount": 1}}


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, ("grace@navy.example", "Grace Brewster", "Hopper", False)),
        ({"user_metadata": ...}, ("grace@navy.example", "grace", "User", False)),
        ({"user_metadata": {"email_verified": True}}, ("grace@navy.example", "grace", "User", False)),
        ({"given_name": "Grace", "family_name": "Hopper"}, ("grace@navy.example", "Grace", "Hopper", False)),
        ({"user_metadata": {"name": "Grace"}}, ("grace@navy.example", "Grace", "User", False)),
        (
            {"user_metadata": {"first_name": " G ", "last_name": "x" * 60}},
            ("grace@navy.example", "grace", "x" * 50, False),
        ),
        ({"user_metadata": {"first_name": "A\0\nda", "last_name": 5}}, ("grace@navy.example", "Ada", "User", False)),
        ({"user_metadata": ["no", "object"], "email": "x@example.com"}, ("x@example.com", "New", "User", False)),
        ({"email": ..., "user_metadata": ...}, ("{id}@outside.invalid", "{id}", "User", False)),
        ({"email": "", "user_metadata": ...}, ("{id}@outside.invalid", "{id}", "User", False)),
        ({"email": 5, "user_metadata": ...}, ("{id}@outside.invalid", "{id}", "User", False)),
    ],
)
async def test_account_is_created_from_the_claims(external_gateway: Gateway, claims: Any, expected: Any) -> None:
    """Missing or unusable claims are replaced with defaults."""
    claims = make_claims(**claims)
    assert (await ask_as(external_gateway, KEY.sign(claims))).status_code == 200
    (user,) = await all_users(external_gateway.database)
    email, first, last, verified = expected
    assert user.email == email.format(id=claims["sub"])
    assert user.first_name == first.format(id=claims["sub"])
    assert (user.last_name, user.email_verified) == (last, verified)


def test_subject_that_is_not_a_uuid_is_mapped_to_one() -> None:
    """The mapping is stable. Only a UUID in its usual spelling is used as it is: no two subjects share an account."""
    key = new_id()
    assert account_key(URL, str(key)) == key
    assert account_key(URL, str(key).upper()) == key
    odd = ["auth0|5", f"urn:uuid:{key}", key.hex, f"{{{key}}}"]
    assert [account_key(URL, each) for each in odd] == [uuid5(NAMESPACE_URL, f"{URL}#{each}") for each in odd]
    assert account_key("https://other.example", "auth0|5") != account_key(URL, "auth0|5")


async def test_concurrent_first_requests_create_one_account(external_gateway: Gateway, key_server: KeyServer) -> None:
    """They fetch the keys once."""
    claims = make_claims(sub="auth0|5")
    tokens = [KEY.sign(claims | {"jti": str(index)}) for index in range(50)]
    answers = await asyncio.gather(*(ask_as(external_gateway, token) for token in tokens))
    assert [answer.json() for answer in answers] == [{"data": {"viewer": {"email": "grace@navy.example"}}}] * 50
    assert len(await all_users(external_gateway.database)) == 1
    assert [event[0] for event in await recorded(external_gateway.database)] == ["UserProvisioned"]
    assert key_server.request_count == 1


def _make_unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT", "kid": "first"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _signed_with_the_public_key(claims: dict[str, Any]) -> list[str]:
    """HS256 tokens whose secret is the public key, in every spelling. PyJWT refuses to encode some of them."""
    public = RSA_KEY.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    made = []
    for secret in (pem, pem.strip(), json.dumps(RSA_KEY.jwk).encode(), RSA_KEY.jwk["n"].encode()):
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"rsa"}').rstrip(b"=")
        body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=")
        signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head + b"." + body, secret)
        made.append((head + b"." + body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode())
    return made


def _comparable_headers(answer: httpx.Response) -> dict[str, str]:
    """The headers without the request id, which differs in each response."""
    return {name: value for name, value in answer.headers.items() if name != "x-request-id"}


async def test_all_invalid_tokens_get_the_same_response(external_gateway: Gateway, key_server: KeyServer) -> None:
    """It is byte for byte that of an invalid token of the gateway itself. No account is created."""
    stranger = SigningKey("first")
    confused = SigningKey("rsa", "ES256")
    key_server.publish(KEY, RSA_KEY, SigningKey("encrypting", use="enc"), SigningKey("other", alg="ES384"))
    wrong = {
        "not signed": _make_unsigned(make_claims()),
        "signed with another key of the same id": stranger.sign(make_claims()),
        "another algorithm than the key's": confused.sign(make_claims()),
        "an unknown key": SigningKey("unknown").sign(make_claims()),
        "a key for something else": SigningKey("encrypting").sign(make_claims()),
        "no key id": jwt.encode(make_claims(), KEY.private, "ES256"),
        "another secret": jwt.encode(make_claims(), "another secret of a sufficient length", "HS256"),
        "another algorithm with the secret": jwt.encode(make_claims(), SHARED * 2, "HS384"),
        "another issuer": KEY.sign(make_claims(iss="https://other.example")),
        "no issuer": KEY.sign(make_claims(iss=...)),
        "almost the issuer": KEY.sign(make_claims(iss=URL + "/")),
        "another audience": KEY.sign(make_claims(aud="another")),
        "no audience": KEY.sign(make_claims(aud=...)),
        "expired": KEY.sign(make_claims(exp=int(now().timestamp()) - 31)),
        "no end": KEY.sign(make_claims(exp=...)),
        "no subject": KEY.sign(make_claims(sub=...)),
        "our own secret": external_gateway.tokens._key
        and jwt.encode(make_claims(), external_gateway.tokens._key, "HS256"),
    } | {
        f"the public key as a secret {index}": token
        for index, token in enumerate(_signed_with_the_public_key(make_claims()))
    }
    own = await ask_as(external_gateway, "nonsense")
    assert own.status_code == 401
    for name, token in wrong.items():
        answer = await ask_as(external_gateway, token)
        assert (answer.status_code, _comparable_headers(answer), answer.content) == (
            401,
            _comparable_headers(own),
            own.content,
        ), name
    assert await all_users(external_gateway.database) == []


@ON_SQLITE
async def test_algorithm_is_that_of_the_configured_keys(database: Database, key_server: KeyServer) -> None:
    """Without a secret, HS256 is rejected; without keys, everything else."""
    by_keys = JWKSIssuer(URL, EXTERNAL_AUDIENCE, keys=IssuerKeys(key_server.url, 60))
    by_secret = JWKSIssuer(URL, EXTERNAL_AUDIENCE, secret=SHARED)
    assert (await by_keys.verify(KEY.sign(make_claims())))["iss"] == URL
    assert (await by_secret.verify(jwt.encode(make_claims(), SHARED, "HS256")))["iss"] == URL
    for token in (jwt.encode(make_claims(), SHARED, "HS256"), *_signed_with_the_public_key(make_claims())):
        with pytest.raises(jwt.InvalidTokenError):
            await by_keys.verify(token)
    for key in (KEY, RSA_KEY):
        with pytest.raises(jwt.InvalidTokenError):
            await by_secret.verify(key.sign(make_claims()))


async def test_own_tokens_are_valid_beside_external_ones(external_gateway: Gateway, key_server: KeyServer) -> None:
    """They never cause a request to the issuer."""
    ada = await make_user(external_gateway.database, email="ada@example.com")
    assert await external_gateway.client(ada).data("{ viewer { email } }") == {"viewer": {"email": "ada@example.com"}}
    assert key_server.request_count == 0


async def test_token_gives_no_access_to_another_account(external_gateway: Gateway) -> None:
    """A token opens no account that has a password or is inactive."""
    ada = await make_user(external_gateway.database, email="ada@example.com", password_hash="some hash")  # noqa: S106
    cases = [make_claims(sub=str(ada.id), email="ada@example.com")]
    for values in ({"status": UserStatus.SUSPENDED}, {"status": UserStatus.DEACTIVATED}, {"deleted_at": now()}):
        user = await make_user(external_gateway.database, **values)
        cases.append(make_claims(sub=str(user.id), email=user.email))
    before = await all_users(external_gateway.database)
    for claims in cases:
        assert (await ask_as(external_gateway, KEY.sign(claims))).status_code == 401
    assert await all_users(external_gateway.database) == before
    assert await recorded(external_gateway.database) == []


@pytest.mark.parametrize(
    ("claims", "holder", "moves"),
    [
        ({"email_verified": True}, {"email_verified": False}, True),
        ({"email_verified": True}, {"email_verified": False, "password_hash": None}, True),
        ({"email_verified": True}, {"email_verified": False, "status": UserStatus.SUSPENDED}, True),
        ({"email_verified": True}, {"email_verified": False, "deleted_at": now()}, True),
        ({"email_verified": True}, {"email_verified": True}, False),
        ({"email_verified": True}, {"email_verified": True, "deleted_at": now()}, False),
        ({}, {"email_verified": False}, False),
        ({}, {"email_verified": True}, False),
        ({"email_verified": "true"}, {"email_verified": False}, False),
        ({"user_metadata": {"email_verified": True}}, {"email_verified": False}, False),
    ],
)
async def test_a_person_whose_address_another_account_has_gets_an_account(
    external_gateway: Gateway, claims: dict[str, Any], holder: dict[str, Any], *, moves: bool
) -> None:
    """The address moves only to the person for whom the issuer vouches, from an account that never verified it.

    Neither gets into the account of the other. The account that loses its address keeps everything else.
    """
    database = external_gateway.database
    local = await make_user(database, **{"email": "grace@navy.example", "password_hash": "some hash"} | holder)
    async with database.transaction(SERVICE) as write:
        await AccountTokens(write).add(
            user_id=local.id,
            purpose=TokenPurpose.RESET_PASSWORD,
            token_hash="a" * 64,
            email=local.email,
            expires_at=now(),
        )
    given = make_claims(email="Grace@Navy.example", **claims)
    external_email = "grace@navy.example" if moves else placeholder_email(UUID(given["sub"]))
    for _ in range(2):
        assert (await ask_as(external_gateway, KEY.sign(given))).json() == {
            "data": {"viewer": {"email": external_email}}
        }
    async with database.transaction(SERVICE) as write:
        external = await Users(write).get(UUID(given["sub"]))
        left = await Users(write).lock_holder(placeholder_email(local.id) if moves else local.email)
        tokens = await AccountTokens(write).find(limit=10)
    assert left is not None
    assert (external.email_verified, external.password_hash) == (moves, None)
    unchanged = {"email": left.email, "version": local.version + moves, "updated_at": left.updated_at}
    assert left == local.replace(**unchanged)
    assert len(tokens) == (0 if moves else 1)
    released = [("EmailReleased", "user", local.id, local.id)] if moves else []
    assert [event[:4] for event in await recorded(database)] == [
        *released,
        ("UserProvisioned", "user", external.id, external.id),
    ]


async def test_a_placeholder_gets_no_messages_and_signs_nobody_in(external_gateway: Gateway) -> None:
    """The address of an account without one cannot be used to sign up."""
    taken = placeholder_email(new_id())
    person = {"email": taken, "password": "correct horse battery", "firstName": "Ada", "lastName": "Byron"}
    payload = await external_gateway.client().do("signUp", "accessToken", **person)
    assert [error["field"] for error in payload["userErrors"]] == [["email"]]
    assert await all_users(external_gateway.database) == []


async def test_roles_come_from_the_database(external_gateway: Gateway, admin: User) -> None:
    """Roles and time zone in the token are ignored."""
    user = await make_user(external_gateway.database, time_zone="Europe/Vienna")
    claims = make_claims(sub=str(user.id), app_metadata={"roles": ["admin"]}, zoneinfo="Asia/Tokyo")
    assert (await external_gateway.authenticator.verify(KEY.sign(claims)))[1] == Viewer(
        user.id, frozenset({RoleName.USER}), time_zone="Europe/Vienna"
    )
    async with external_gateway.database.transaction(SERVICE) as write:
        roles = {role.name: role for role in await Roles(write).find(limit=10)}
        role = roles["partnership_manager"]
        await RoleGrants(write).add(user_id=user.id, role_id=role.id, granted_by=admin.id, granted_at=now())
    _, viewer = await external_gateway.authenticator.verify(KEY.sign(claims | {"jti": "2"}))
    assert viewer.roles == {RoleName.USER, RoleName.PARTNERSHIP_MANAGER}
    _, viewer = await external_gateway.authenticator.verify(KEY.sign(make_claims(sub=str(admin.id), email=admin.email)))
    assert viewer.roles == {RoleName.USER, RoleName.ADMIN}


async def test_verified_token_is_cached_for_a_limited_time(
    database: Database, key_server: KeyServer, statements: list[str]
) -> None:
    """After that time, the token of a suspended user is rejected."""
    issuer = JWKSIssuer(URL, EXTERNAL_AUDIENCE, keys=IssuerKeys(key_server.url, 60))
    for remembered, is_expired in ((900, False), (-1, True)):
        gateway = Gateway(database, external=ExternalAccounts(issuer, database, REACTIONS, remembered))
        claims = make_claims(email=f"{remembered}@example.com")
        token = KEY.sign(claims)
        _, viewer = await gateway.authenticator.verify(token)
        statements.clear()
        assert (await gateway.authenticator.verify(token))[1] == viewer
        assert bool(statements) is is_expired
        async with database.transaction(SERVICE) as write:
            user = await Users(write).get(UUID(claims["sub"]))
            await Users(write).change(user, status=UserStatus.SUSPENDED)
        if is_expired:
            with pytest.raises(Unauthenticated):
                await gateway.authenticator.verify(token)
        else:
            assert (await gateway.authenticator.verify(token))[1] == viewer


# settings


@ON_SQLITE
def test_issuer_and_its_keys_must_be_set_together(monkeypatch: pytest.MonkeyPatch, database: Database) -> None:
    assert create_external_accounts(Settings(), database, REACTIONS) is None
    secret = SecretStr(SHARED)
    assert create_external_accounts(Settings(issuer_url=URL, issuer_secret=secret), database, REACTIONS) is not None
    keys = Settings(issuer_url=URL, issuer_jwks_url="https://issuer.example/jwks")
    assert create_external_accounts(keys, database, REACTIONS) is not None
    for given, message in (
        (
            {"ISSUER_URL": URL},
            "GATEWAY_ISSUER_URL: must be set together with GATEWAY_ISSUER_SECRET or GATEWAY_ISSUER_JWKS_URL",
        ),
        ({"ISSUER_SECRET": SHARED}, "GATEWAY_ISSUER_URL: must be set together with"),
        ({"ISSUER_URL": URL, "ISSUER_SECRET": "short"}, "GATEWAY_ISSUER_SECRET: must have 32 characters or more"),
        ({"ISSUER_URL": URL, "ISSUER_JWKS_URL": "http://issuer.example/"}, "GATEWAY_ISSUER_JWKS_URL: must be an https"),
        ({"TRUSTED_PROXIES": "10.0.0.0/8, proxy"}, "GATEWAY_TRUSTED_PROXIES: 'proxy' does not appear to be"),
        ({"SIGN_INS_PER_ADDRESS": "often"}, "GATEWAY_SIGN_INS_PER_ADDRESS: must look like `10 per 15 minutes`"),
    ):
        with monkeypatch.context() as environment:
            for name, value in given.items():
                environment.setenv(f"GATEWAY_{name}", value)
            with pytest.raises(SettingsError) as caught:
                load_settings()
            assert str(caught.value).startswith(message)
