"""Rules about the documentation: line lengths, links, and names of files, settings, commands and classes."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from typer.main import get_command

from gateway.cli.main import app
from gateway.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LONGEST_LINE = 160

_FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_INLINE_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(
    r"(?<![\w./:-])(?:gateway|schema|resolvers|repositories|migrations|tests|benchmarks|docs)/[\w./-]*[\w/]"
)
_PLACEHOLDERS = re.compile(r"DOMAIN|NAME|NN|[nN]otebook")
"""In names that stand for many names, or for those of the example in docs/adding-a-domain.md."""


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


pages = pytest.mark.parametrize("page", PAGES, ids=page_id)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """The text without fenced blocks."""
    return _FENCED.sub("", text_of(page))


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.replace("`", "").lower()).replace(" ", "-") for title in titles}


def links_of(page: Path) -> Iterator[tuple[Path, str]]:
    """The files of this repository that a page links, each with the anchor or an empty string."""
    for target in _LINK.findall(prose_of(page)):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("index", [page for page in PAGES if page.name == "README.md"], ids=page_id)
def test_an_index_links_every_page_beside_it(index: Path) -> None:
    linked = {path for path, _ in links_of(index)}
    assert {page for page in PAGES if page.parent == index.parent} - {index} <= linked


@pages
def test_no_line_is_too_long(page: Path) -> None:
    assert [line for line in text_of(page).splitlines() if len(line) > LONGEST_LINE] == []


@pages
def test_every_relative_link_has_a_target(page: Path) -> None:
    links = list(links_of(page))
    assert [str(target) for target, _ in links if not target.exists()] == []
    wrong = [
        (page_id(target), anchor)
        for target, anchor in links
        if anchor and target.suffix == ".md" and anchor not in anchors_of(target)
    ]
    assert wrong == []


@pages
def test_every_named_file_exists(page: Path) -> None:
    named = {path for path in _PATH.findall(text_of(page)) if not _PLACEHOLDERS.search(path)}
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_every_page_is_reachable_from_the_index() -> None:
    index = ROOT / "docs" / "README.md"
    reached, waiting = {index}, [index]
    while waiting:
        for target, _ in links_of(waiting.pop()):
            if target.suffix == ".md" and target not in reached:
                reached.add(target)
                waiting.append(target)
    assert set(PAGES) - reached == set()


@pages
def test_every_named_setting_exists(page: Path) -> None:
    named = set(re.findall(rf"{PREFIX}([A-Z_]*[A-Z])\b", text_of(page)))
    assert {name.lower() for name in named} - set(Settings.model_fields) == set()


@pages
def test_every_named_command_exists(page: Path) -> None:
    commands = _commands(get_command(app))
    named = {found for code in _INLINE_CODE.findall(prose_of(page)) for found in re.findall(r"^siso ([a-z-]+)", code)}
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    made = {found for code in _INLINE_CODE.findall(prose_of(page)) for found in re.findall(r"^make ([a-z]+)", code)}
    assert (named - commands, made - targets) == (set(), set())


def _commands(group: object) -> set[str]:
    found: dict[str, object] = getattr(group, "commands", {})
    return set(found)


@pages
def test_every_named_class_exists(page: Path) -> None:
    """Names in capitals and small letters, as `Snapshot` or `Database.snapshot`, occur in the source."""
    codes = _INLINE_CODE.findall(prose_of(page))
    named = {part for code in codes if re.fullmatch(r"[A-Z]\w*[a-z]\w*(\.\w+)*", code) for part in code.split(".")}
    assert {name for name in named - words_of_source() if not _PLACEHOLDERS.search(name)} == set()


@cache
def words_of_source() -> set[str]:
    folders = ("gateway", "schema", "resolvers", "repositories", "migrations", "tests")
    sources = (path for folder in folders for path in (ROOT / folder).rglob("*.py") if path != Path(__file__))
    texts = [text_of(path) for path in (*sources, ROOT / "schema" / "schema.graphql")]
    return {word for text in texts for word in re.findall(r"\w+", text)}
