"""Texts that identify something have one spelling: addresses are normalized, names contain no control characters."""

import sys
import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.settings import Settings
from repositories.engines.database import Database
from repositories.tables.identity import User
from resolvers.validation.command import Command, _check_single_line
from schema import schema
from tests.api.client import Gateway, gid, user_error
from tests.api.people import PASSWORD, TOKENS, make_member, sign_in
from tests.api.test_accounts import WRONG, is_limited, try_sign_in
from tests.factories import make_client, make_user

pytestmark = pytest.mark.usefixtures("cheap_passwords")

STORED = "ada@bücher.example"
SPELLINGS = (
    STORED,
    "ADA@BÜCHER.example",
    "ada@xn--bcher-kva.example",
    "Ada@XN--BCHER-KVA.EXAMPLE",
    "ada@bu\u0308cher.example",
    "ada@bücher\uff0eexample",
    "ada@\uff42ücher\u3002example",
    "  ada@bücher.example ",
)
CONTROLS = [*"\0\t\n\r\x1c\x1d\x1e\x1f\x7f\x85", "\u200b", "\u2028", "\u2029", "\ufeff"]


def test_every_character_that_breaks_a_line_is_rejected() -> None:
    """All of Unicode, against the plain definition."""
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        breaks = unicodedata.category(character) in {"Cc", "Zl", "Zp"} or character in "\u200b\u2060\ufeff"
        if breaks:
            with pytest.raises(ValueError, match="control characters"):
                _check_single_line(character)
        else:
            _check_single_line(character)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
async def test_an_account_is_found_by_every_spelling_of_its_address(
    gateway: Gateway, admin: User, spelling: str
) -> None:
    """Whichever of them the user signed up with."""
    new = {"email": spelling, "password": PASSWORD, "firstName": "Zoe", "lastName": "Byron"}
    payload = await gateway.client().do("signUp", TOKENS, **new)
    assert (payload["viewer"], payload["userErrors"]) == ({"email": STORED}, [])
    taken = user_error("CONFLICT", "There is already an account with this e-mail address.", "email")
    other = SPELLINGS[SPELLINGS.index(spelling) - 3]
    assert (await sign_in(gateway.client(), other))["viewer"] == {"email": STORED}
    assert (await gateway.client().do("signUp", TOKENS, **new | {"email": other}))["userErrors"] == [taken]
    document = "query($f: UserFilter) { users(filter: $f) { nodes { email } } }"
    for each in SPELLINGS:
        texts = (
            {"search": each},
            {"search": f"Zoe {each.strip()}"},
            {"email": {"eq": each}},
            {"email": {"in": [each]}},
        )
        for given in texts:
            answer = await gateway.client(admin).data(document, f=given)
            assert answer == {"users": {"nodes": [{"email": STORED}]}}, given
        for given in ({"email": {"ne": each}}, {"email": {"notIn": [each]}}):
            answer = await gateway.client(admin).data(document, f=given)
            assert answer == {"users": {"nodes": [{"email": admin.email}]}}, given


async def test_users_are_found_by_every_spelling_of_a_domain(gateway: Gateway, admin: User) -> None:
    await make_user(gateway.database, email=STORED)
    for word in ("bücher.example", "xn--bcher-kva.example", "@XN--BCHER-KVA.example", "bu\u0308cher\uff0eexample"):
        document = "query($w: String) { users(filter: {search: $w}) { nodes { email } } }"
        assert await gateway.client(admin).data(document, w=word) == {"users": {"nodes": [{"email": STORED}]}}


@pytest.mark.parametrize("spelling", SPELLINGS, ids=ascii)
async def test_a_contact_is_found_by_every_spelling_of_its_address(gateway: Gateway, ada: User, spelling: str) -> None:
    customer = await make_client(gateway.database, ada)
    client = gateway.client(ada)
    new = {"clientId": gid("Client", customer), "firstName": "Ada", "lastName": "Byron", "email": spelling}
    payload = await client.do("addContact", "contact { email }", **new)
    assert (payload["contact"], payload["userErrors"]) == ({"email": STORED}, [])
    taken = user_error("CONFLICT", "You already have a contact with this e-mail address.", "email")
    for other in SPELLINGS:
        document = "query($email: String!) { contacts(email: $email) { nodes { email } } }"
        assert await client.data(document, email=other) == {"contacts": {"nodes": [{"email": STORED}]}}
        assert (await client.do("addContact", "contact { email }", **new | {"email": other}))["userErrors"] == [taken]
    twice = [{"firstName": "Ada", "lastName": "B", "email": f"x{each.strip()}"} for each in (spelling, SPELLINGS[2])]
    payload = await client.do("createClient", "client { id }", companyName="Acme", contacts=twice)
    message = "This e-mail address is in the list twice."
    assert payload["userErrors"] == [user_error("CONFLICT", message, "contacts", "1", "email")]


async def test_attempts_are_counted_per_account_in_every_spelling_of_its_address(database: Database) -> None:
    """A text that is counted as another address is looked up as another address too."""
    await make_member(database, STORED)
    settings = Settings(password_attempts_per_account="5 per 15 minutes")  # noqa: S106
    gateway = Gateway(database, settings=settings)
    guesses = [await try_sign_in(gateway, spelling, "a wrong guess") for spelling in (*SPELLINGS, *SPELLINGS)]
    assert [is_limited(guess) for guess in guesses] == [False] * 5 + [True] * 11
    for control in CONTROLS:
        for spelling in (control + STORED, STORED + control, STORED.replace("@", control + "@")):
            answer = await try_sign_in(gateway, spelling, PASSWORD)
            assert not is_limited(answer)
            assert answer["data"]["signIn"]["userErrors"] == [{"code": "VALIDATION_ERROR"}]
            assert answer["data"]["signIn"]["accessToken"] is None
    assert is_limited(await try_sign_in(gateway, STORED, PASSWORD))


@pytest.mark.parametrize("options", ["sqlite"], indirect=True)
@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
async def test_control_characters_in_an_address_are_rejected(gateway: Gateway, control: str) -> None:
    """They are an error of the field, at sign-up and at sign-in, also where text is usually trimmed."""
    await make_member(gateway.database)
    storable = "Text must not contain NUL or half of a surrogate pair."
    line = "This must not contain control characters, line breaks or characters without width."
    no_address = "This is not an e-mail address."
    for spelling in (f"{control}ada@example.com", f"ada@example.com{control}", f"ada{control}@example.com"):
        payload = await sign_in(gateway.client(), spelling)
        message = storable if control == "\0" else line
        assert payload == WRONG | {"userErrors": [user_error("VALIDATION_ERROR", message, "email")]}
        new = {"email": spelling, "password": PASSWORD, "firstName": "Ada", "lastName": "Byron"}
        payload = await gateway.client().do("signUp", TOKENS, **new)
        message = storable if control == "\0" else no_address
        assert payload["userErrors"] == [user_error("VALIDATION_ERROR", message, "email")]


FREE_TEXTS = {
    *("password", "current_password", "new_password", "refresh_token", "device_token"),
    *("description", "note", "notes"),
}
"""Fields with texts that may have several lines, or that are compared with a hash."""


def _commands(base: type[Command] = Command) -> Iterator[type[Command]]:
    for command in base.__subclasses__():
        yield command
        yield from _commands(command)


def _text_type(annotation: Any) -> Any:
    """The annotated ``str`` within an annotation such as ``Maybe[Annotated[str, ...] | None]``, or None."""
    if annotation is str or (get_origin(annotation) is Annotated and get_args(annotation)[0] is str):
        return annotation
    parts = () if get_origin(annotation) is Annotated else get_args(annotation)
    return next((found for part in parts if (found := _text_type(part)) is not None), None)


TEXT_FIELDS: dict[str, Any] = {
    f"{command.__name__}.{name}": Annotated[(found, *field.metadata)] if field.metadata else found
    for command in _commands()
    if command.__module__.startswith("resolvers.") and f"{command.__name__}Input" in schema._schema.type_map
    for name, field in command.model_fields.items()
    if name not in FREE_TEXTS and (found := _text_type(field.annotation)) is not None
}


@pytest.mark.parametrize("field", TEXT_FIELDS)
def test_names_codes_and_addresses_contain_no_control_characters(field: str) -> None:
    """Every text of every command, except those that are listed as free texts."""
    adapter = TypeAdapter(TEXT_FIELDS[field])
    texts = ["Ada{}Byron", "a{}b@example.com", "https://example.com/{}x", "+4930{}1234567", "#3B82{}F6", "a{}b"]
    controls = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029\u200b\u2060\ufeff"]
    accepted = 0
    for text in (*texts, "de{}-AT", "EU{}R", "A{}T"):
        accepted += _is_accepted(adapter, text.format(""))
        assert [control for control in controls if _is_accepted(adapter, text.format(control))] == []
    assert accepted or field.endswith("time_zone")


def _is_accepted(adapter: TypeAdapter[Any], text: str) -> bool:
    try:
        adapter.validate_python(text)
    except ValidationError:
        return False
    return True


def test_the_fields_that_are_checked_are_those_of_the_commands() -> None:
    assert {"SignUp.email", "UpdateProfile.first_name", "CreateTask.title", "CreateReward.name"} <= set(TEXT_FIELDS)
    assert len(TEXT_FIELDS) > 40


def test_joiners_are_part_of_names() -> None:
    """U+200C and U+200D change the form of letters in some scripts, and join emoji."""
    for name in ("\u0646\u0627\u0645\u0647\u200c\u0627\u06cc", "क्\u200dष", "👩\u200d🚀 Ada"):
        assert TypeAdapter(TEXT_FIELDS["SignUp.first_name"]).validate_python(name) == name
