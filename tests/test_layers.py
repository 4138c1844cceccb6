"""What the import contracts cannot say about the floors."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLOORS = ("gateway", "schema", "resolvers", "repositories", "migrations")


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the floors, parsed."""
    for floor in FLOORS:
        for path in (ROOT / floor).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def reads_the_environment(module: ast.Module) -> bool:
    """Whether it names os.environ or os.getenv, in whatever way it got hold of them."""
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and names & {item.name for item in node.names})
        for node in ast.walk(module)
    )


def test_only_the_settings_read_the_environment() -> None:
    assert [path for path, module in modules() if reads_the_environment(module)] == ["gateway/settings.py"]


def test_the_check_sees_every_way_in() -> None:
    for source in ("import os\nos.environ['A']", "from os import getenv as g", "import os as o\no.getenv('A')"):
        assert reads_the_environment(ast.parse(source))
    assert not reads_the_environment(ast.parse("import os\nos.getpid()"))


def test_every_package_says_what_it_is_for() -> None:
    assert [path for path, module in modules() if not ast.get_docstring(module)] == []
