"""An external issuer: signs tokens, and serves its public keys on a local port."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from repositories.core.clock import now
from repositories.core.ids import new_id
from tests.api.client import Gateway

URL = "https://issuer.example/auth/v1"
EXTERNAL_AUDIENCE = "authenticated"
SHARED = "the secret of an external issuer, long enough"
VIEWER = {"query": "{ viewer { email } }"}


class SigningKey:
    """A key pair, and its public key as a JWK. ``published`` overrides members of the JWK."""

    def __init__(self, key_id: str, algorithm: str = "ES256", **published: Any) -> None:
        self.key_id = key_id
        self.algorithm = algorithm
        self.private: Any
        if algorithm == "ES256":
            self.private = ec.generate_private_key(ec.SECP256R1())
            self.jwk = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        else:
            self.private = rsa.generate_private_key(65537, 2048)
            self.jwk = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.jwk |= {"kid": key_id, "alg": algorithm, "use": "sig"} | published

    def sign(self, claims: dict[str, Any]) -> str:
        return jwt.encode(claims, self.private, self.algorithm, headers={"kid": self.key_id})


KEY = SigningKey("first")
RSA_KEY = SigningKey("rsa", "RS256")


class Clock:
    """Seconds that pass only when a test advances them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def ask_as(gateway: Gateway, token: str) -> httpx.Response:
    """Sends a query with a token."""
    return await gateway.http.post("/graphql", json=VIEWER, headers={"Authorization": f"Bearer {token}"})


def make_claims(**changes: Any) -> dict[str, Any]:
    """The claims of a valid token, with changes; ``...`` removes a claim."""
    valid = {
        "sub": str(new_id()),
        "iss": URL,
        "aud": EXTERNAL_AUDIENCE,
        "exp": int(now().timestamp()) + 3600,
        "email": "Grace@Navy.example",
        "role": "authenticated",
        "user_metadata": {"full_name": "Grace Brewster Hopper"},
    }
    return {name: value for name, value in (valid | changes).items() if value is not ...}


class KeyServer:
    """Serves the issuer's keys, and counts the requests. It responds while ``may_respond`` is set.

    ``response`` is the body: bytes, or a value that is sent as JSON. ``raw`` is the whole response, if it is set.
    """

    def __init__(self, *keys: SigningKey) -> None:
        self.response: Any = None
        self.raw: AsyncIterator[bytes] | None = None
        self.request_count = 0
        self.may_respond = asyncio.Event()
        self.may_respond.set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._port = 0
        self.publish(*keys)

    def publish(self, *keys: SigningKey) -> None:
        self.response = {"keys": [key.jwk for key in keys]}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/jwks.json"

    async def start(self) -> None:
        """Listens on a free port; after a stop, on the same port again."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Closes the port and all connections."""
        if self._server is not None:
            self._server.close()
            for handler in self._handlers:
                handler.cancel()
            await asyncio.gather(*self._handlers, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handler: Any = asyncio.current_task()
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)
        try:
            await reader.readuntil(b"\r\n\r\n")
            self.request_count += 1
            await self.may_respond.wait()
            async for part in self.raw or self._respond():
                writer.write(part)
                await writer.drain()
        except ConnectionError:  # the client may stop reading
            pass
        finally:
            writer.close()

    async def _respond(self) -> AsyncIterator[bytes]:
        body = self.response if isinstance(self.response, bytes) else json.dumps(self.response).encode()
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(body), body)


@asynccontextmanager
async def publish_keys(*keys: SigningKey) -> AsyncIterator[KeyServer]:
    """Serves these keys until the end of the block."""
    issuer = KeyServer(*keys)
    await issuer.start()
    try:
        yield issuer
    finally:
        await issuer.stop()
