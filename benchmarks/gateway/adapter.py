"""Converts the rig's variables to the gateway's, and signs a token for the user of each request.

The rig imports this module, so it uses only the standard library.
"""

import base64
import hashlib
import hmac
import json
from typing import Any

SECRET = b"the-benchmark-signs-its-tokens-with-this"
_END_OF_2099 = 4102444799


def request(workload: str, variables: dict[str, Any], ids: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the variables and headers of one request."""
    return _variables(workload, variables, ids), {"Authorization": f"Bearer {_token(ids['user'])}"}


def _variables(workload: str, variables: dict[str, Any], ids: dict[str, Any]) -> dict[str, Any]:
    match workload:
        case "W3":
            return {}
        case "W4":
            return {"id": _global_id("Task", variables["id"])}
        case "W6":
            values = {name: value for name, value in variables["input"].items() if name != "userId"}
            return {"input": values | {"categoryId": _global_id("Category", values["categoryId"])}}
        case _:
            return {"userId": _global_id("User", ids["user"])}


def _global_id(type_name: str, key: str) -> str:
    return base64.b64encode(f"{type_name}:{key}".encode()).decode()


def _token(user: str) -> str:
    claims = {
        "sub": user,
        "aud": "siso-gateway",
        "exp": _END_OF_2099,
        "role": "authenticated",
        "app_metadata": {"roles": ["user"]},
        "zoneinfo": "UTC",
    }
    signed = b".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (signed + b"." + _base64(hmac.digest(SECRET, signed, hashlib.sha256))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
