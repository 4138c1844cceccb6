"""Common passwords are rejected wherever a password is set."""

import subprocess
import sys
from typing import Any

import pytest

from resolvers.identity.inputs import NewPassword
from resolvers.validation.command import Command
from schema import schema
from tests.api.client import ROOT, Gateway, user_error
from tests.api.people import PASSWORD, TOKENS, all_sessions, make_member, open_session, sign_in
from tests.api.stored_rows import event_summaries
from tests.databases import ON_SQLITE

MESSAGE = "This is one of the most common passwords. Choose another one, such as three or four unrelated words."
COMMON = [
    "password123",  # number 1,374 of the list
    "PassWord123",  # the case does not matter
    "\uff50assword123",  # a full-width letter looks the same
    " qwertyuiop ",
    "1234567890",
    "1q2w3e4r5t6y",
]


@ON_SQLITE
@pytest.mark.parametrize("password", COMMON)
async def test_common_password_is_rejected_at_sign_up(gateway: Gateway, password: str) -> None:
    values: dict[str, Any] = {"email": "ada@example.com", "firstName": "Ada", "lastName": "Byron"}
    payload = await gateway.client().do("signUp", TOKENS, **values, password=password)
    assert payload["userErrors"] == [user_error("VALIDATION_ERROR", MESSAGE, "password")]
    assert (payload["accessToken"], await all_sessions(gateway.database)) == (None, [])
    assert await event_summaries(gateway.database) == []


@ON_SQLITE
@pytest.mark.parametrize("password", COMMON)
async def test_password_cannot_be_changed_to_a_common_one(gateway: Gateway, password: str) -> None:
    await make_member(gateway.database)
    client, _ = await open_session(gateway)
    payload = await client.do("changePassword", "user { id }", currentPassword=PASSWORD, newPassword=password)
    assert payload["userErrors"] == [user_error("VALIDATION_ERROR", MESSAGE, "newPassword")]
    assert (await sign_in(gateway.client()))["userErrors"] == []


def test_every_command_that_sets_a_password_uses_the_same_type() -> None:
    """An input with a secret text either proves a right with it, or sets a password."""
    proofs = {
        "SignIn.password",
        "ChangePassword.current_password",
        "DeactivateAccount.password",
        "RequestEmailChange.password",
    }
    fields = {
        f"{command.__name__}.{name}": field
        for command in Command.__subclasses__()
        for name, field in command.model_fields.items()
        if "password" in name
    }
    assert proofs < set(fields)
    assert schema is not None  # importing it has declared all commands
    rule = NewPassword.__metadata__  # type: ignore[attr-defined]
    for name in set(fields) - proofs:
        assert set(map(repr, rule)) <= set(map(repr, fields[name].metadata)), name


def test_list_has_10_000_passwords_and_is_loaded_with_the_first_password() -> None:
    """It takes 12 MB, which a process that sets no password does not need."""
    script = (
        "import sys; import resolvers.identity.inputs as inputs; assert 'zxcvbn' not in sys.modules\n"
        "from zxcvbn.frequency_lists import FREQUENCY_LISTS\n"
        "common = FREQUENCY_LISTS['passwords']; assert len(common) >= 10_000\n"
        "accepted = [p for p in common[:10_000] if len(p) >= 10 and not inputs.is_common(p)]; assert accepted == []"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
