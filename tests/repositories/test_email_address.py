"""The normal form of e-mail addresses: one text for all spellings of an address, and different texts for the others."""

import unicodedata

import idna
import pytest
import sqlalchemy as sa
from hypothesis import assume, given
from hypothesis import strategies as st

from repositories.core.email_address import normalize_email, normalize_search_word, parse_email
from repositories.core.viewer import SERVICE
from repositories.engines.database import Database
from repositories.identity import Users
from repositories.sql import types
from repositories.sql.filters import And, Compare, Op, Search, SortKey
from repositories.sql.page import PageRequest
from repositories.sql.statements import Statement
from repositories.tables.identity import User
from tests.factories import make_user
from tests.repositories.support import open_snapshot

_set_email: Statement[User] = Statement(
    sa.update(User.__table__)
    .where(User.__table__.c.id == sa.bindparam("id", type_=types.Id()))
    .values(email=sa.bindparam("email", type_=sa.Text()))
    .returning(*User.__table__.c),
    User,
)
"""Stores an address as it is."""

_LETTERS = ("abcxyz0189", "aäöüéñßø", "αβγδέςσ", "абвёя", "日本語", "ก็ข้")
_DOTS = ".\u3002\uff0e\uff61"
_LOCAL = st.text("abcXYZ019+-_'äÖéßα", min_size=1, max_size=20)


@st.composite
def domains(draw: st.DrawFn) -> str:
    """A domain of one to three labels in normal form, each of one script."""
    scripts = draw(st.lists(st.sampled_from(_LETTERS), min_size=1, max_size=3))
    labels = [draw(st.text(script, min_size=1, max_size=12)) for script in scripts]
    domain = ".".join([*(unicodedata.normalize("NFC", label) for label in labels), "example"])
    assume(_is_domain(domain))
    return domain


def _is_domain(domain: str) -> bool:
    try:
        return idna.decode(idna.encode(domain)) == domain
    except idna.IDNAError:
        return False


def _full_width(text: str) -> str:
    return "".join(chr(ord(each) + 0xFEE0) if "a" <= each <= "z" or "0" <= each <= "9" else each for each in text)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """An address, and another spelling of it."""
    local, domain = draw(_LOCAL), draw(domains())
    labels = []
    for label in domain.split("."):
        variants = [label, idna.encode(label).decode(), unicodedata.normalize("NFD", label), _full_width(label)]
        variants += [label.upper()] if label.upper().lower() == label and "ς" not in label else []
        variants += [idna.encode(label).decode().upper()]
        labels.append(draw(st.sampled_from(variants)))
    spelled = labels[0]
    for label in labels[1:]:
        spelled += draw(st.sampled_from(_DOTS)) + label
    locals_ = [local, unicodedata.normalize("NFD", local), *([local.upper()] if "ß" not in local else [])]
    spaces = st.sampled_from(["", " ", "  "])
    return f"{local}@{domain}", draw(spaces) + f"{draw(st.sampled_from(locals_))}@{spelled}" + draw(spaces)


@given(spellings())
def test_all_spellings_of_an_address_have_one_normal_form(spelling: tuple[str, str]) -> None:
    """It is in lower case and NFC, with the domain in Unicode, and it is its own normal form."""
    address, other = spelling
    normal = parse_email(other)
    assert normal == parse_email(address) == parse_email(normal) == normalize_email(other)
    local, _, domain = address.rpartition("@")
    folded = "".join(each if each == "ß" else each.casefold() for each in unicodedata.normalize("NFC", local))
    assert normal == f"{unicodedata.normalize('NFC', folded)}@{domain}"
    assert normalize_search_word(other.strip()) == normal
    assert normalize_search_word(other.rpartition("@")[2].strip()) == domain
    assert normalize_search_word("@" + other.rpartition("@")[2].strip()) == f"@{domain}"


@given(st.text(max_size=80))
def test_a_normal_form_is_its_own_normal_form(text: str) -> None:
    normal = normalize_email(text)
    assert normalize_email(normal) == normal
    assert unicodedata.is_normalized("NFC", normal)


@given(_LOCAL, domains(), _LOCAL, domains())
def test_different_addresses_have_different_normal_forms(local: str, domain: str, other: str, elsewhere: str) -> None:
    pairs = ((local, domain), (other, elsewhere))
    left, right = (f"{unicodedata.normalize('NFC', name.lower())}@{at}" for name, at in pairs)
    assume(left != right)
    assert parse_email(left) != parse_email(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ada@straße.example", "ada@strasse.example"),
        ("straße@example.com", "strasse@example.com"),
        ("ada+work@example.com", "ada@example.com"),
        ("a.da@example.com", "ada@example.com"),
        ("ada@βόλος.example", "ada@βόλοσ.example"),
    ],
)
def test_addresses_of_different_mailboxes_stay_different(left: str, right: str) -> None:
    """Some providers ignore dots and what follows a plus; the gateway cannot know which."""
    assert parse_email(left) != parse_email(right)


def test_the_capital_sharp_s_is_the_small_one() -> None:
    assert parse_email("ADA@STRAẞE.EXAMPLE") == "ada@straße.example"
    assert parse_email("STRAẞE@example.com") == "straße@example.com"


CONTROLS = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), "\u2028", "\u2029"]
SPACES = ["\u00a0", "\u1680", *map(chr, range(0x2000, 0x200B)), "\u202f", "\u205f", "\u3000"]
INVISIBLE = ["\u00ad", "\u180e", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u202e", "\u2066"]


@pytest.mark.parametrize("character", [*CONTROLS, *SPACES, *INVISIBLE], ids=lambda character: f"U+{ord(character):04X}")
def test_an_address_has_no_control_characters_and_no_white_space(character: str) -> None:
    """At either end, in the local part and in the domain."""
    address = "ada@example.com"
    for place in (0, 1, 3, 4, 7, 11, 12, len(address)):
        spelled = address[:place] + character + address[place:]
        with pytest.raises(ValueError, match=r"mail|@-sign"):
            parse_email(spelled)
        assert normalize_email(spelled) != address


NO_ADDRESSES = [
    *("", "@", "ada", "ada@", "@example.com", "ada@example", "ada@localhost", "a@b@example.com", '"ada"@example.com'),
    *("Ada <ada@example.com>", "ada@[127.0.0.1]", "ada@example.com.", "ada@.example.com", "ada@xn--a.example"),
    *("ada@exa_mple.com", "\ud800@example.com", "x" * 250 + "@example.com", "İ" * 125 + "@a.de"),
    "a" * 1_000_000 + "@example.com",
]


@pytest.mark.parametrize("text", NO_ADDRESSES, ids=lambda text: ascii(text)[:40])
def test_a_text_that_is_no_address_is_rejected(text: str) -> None:
    """A part in quotes is none either, so that no address has two spellings because of quotes."""
    with pytest.raises(ValueError, match=r"."):
        parse_email(text)


STORED, OTHERS = (
    "ada@bücher.example",
    ("ADA@xn--bcher-kva.example", "ada@bu\u0308cher\uff0eEXAMPLE", " Ada@BÜCHER.example "),
)


async def test_the_column_stores_and_compares_the_normal_form(database: Database) -> None:
    """However a row is written or a filter is given."""
    first = await make_user(database, email=OTHERS[0])
    await make_user(database, email="bob@example.com")
    assert first.email == STORED
    async with open_snapshot(database) as snapshot:
        users = Users(snapshot)
        for spelled in (STORED, *OTHERS):
            assert await users.of_email(spelled) == first
            assert await users.find(Compare("email", Op.IN, [spelled, "nobody"]), limit=5) == [first]
            assert await users.count(Compare("email", Op.NE, spelled)) == 1
            assert await users.count(Compare("email", Op.NOT_IN, [spelled])) == 1
            search = Search.of_table(User.__table__, ("email", "first_name"), f"{spelled.strip()} ada")
            assert await users.find(search, limit=5) == [first]
        for unknown in ("ada@bucher.example", "ada", "", "ada@bücher.example\x1c", "\x1dada@bücher.example"):
            assert await users.of_email(unknown) is None


async def test_bulk_writes_and_changes_store_the_normal_form(database: Database) -> None:
    rows = [{"email": spelled, "first_name": "Ada", "last_name": "Byron"} for spelled in OTHERS[:1]]
    async with database.transaction(SERVICE) as write:
        assert len(await Users(write).add_missing(rows)) == 1
        assert await Users(write).add_missing([rows[0] | {"email": OTHERS[1]}]) == set()
        (added,) = await Users(write).add_many([rows[0] | {"email": "BOB@BÜCHER.example"}])
        assert added.email == "bob@bücher.example"
        assert (await Users(write).change(added, email="Bob@XN--STRAE-OQA.example")).email == "bob@straße.example"
        assert await Users(write).of_email(STORED)


async def test_a_list_by_address_has_cursors_in_any_spelling_that_is_stored(database: Database) -> None:
    """Also for a row from before the normal form."""
    users = [await make_user(database, email=f"{name}@example.com") for name in "abc"]
    odd = "B@xn--bcher-kva.example"
    async with database.transaction(SERVICE) as write:
        await write.rows(_set_email, id=users[1].id, email=odd)
    found, after = [], None
    async with open_snapshot(database) as snapshot:
        while True:
            page = await Users(snapshot).page(PageRequest(first=1, after=after), And(), [SortKey("email")])
            found += [row.email for row in page.rows]
            if not page.has_next:
                break
            after = page.cursor(page.rows[-1])
    assert found == ["a@example.com", odd, "c@example.com"]


@pytest.mark.parametrize(
    ("address", "other"),
    [
        ("\N{GREEK SMALL LETTER FINAL SIGMA}.x@example.com", "\N{GREEK CAPITAL LETTER SIGMA}.X@example.com"),
        ("x\N{GREEK SMALL LETTER FINAL SIGMA}@example.com", "X\N{GREEK CAPITAL LETTER SIGMA}@example.com"),
        ("\N{LATIN SMALL LETTER LONG S}am@example.com", "SAM@example.com"),
        ("\N{LATIN SMALL LETTER J WITH CARON}@example.com", "J\N{COMBINING CARON}@example.com"),
        ("straße@example.com", "STRAẞE@example.com"),
    ],
)
def test_case_is_folded_letter_by_letter(address: str, other: str) -> None:
    assert parse_email(address) == parse_email(other)


def test_sharp_s_and_two_s_are_two_addresses() -> None:
    assert parse_email("straße@example.com") != parse_email("strasse@example.com")
