"""Rules about the source that import-linter cannot express."""

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ("gateway", "schema", "resolvers", "repositories", "migrations")
DOMAINS = {path.stem for path in (ROOT / "schema").glob("*.py")} - {"__init__", "node"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    """The path and the syntax tree of every module."""
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def is_of_domain(path: str) -> bool:
    """Whether the module belongs to a domain or lists what the domains declare, or holds demo data of a domain."""
    return path in {"resolvers/jobs.py", "resolvers/reactions.py"} or any(
        part.removesuffix(".py") in {*DOMAINS, "demo"} for part in Path(path).parts
    )


def reads_the_environment(module: ast.Module) -> bool:
    """Whether the module uses os.environ or os.getenv, however it imports them."""
    names = {"environ", "environb", "getenv", "getenvb"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and names & {item.name for item in node.names})
        for node in ast.walk(module)
    )


def test_only_the_settings_read_the_environment() -> None:
    assert [path for path, module in modules() if reads_the_environment(module)] == ["gateway/settings/__init__.py"]


def test_the_check_finds_every_way_to_read_the_environment() -> None:
    for source in ("import os\nos.environ['A']", "from os import getenv as g", "import os as o\no.getenv('A')"):
        assert reads_the_environment(ast.parse(source))
    assert not reads_the_environment(ast.parse("import os\nos.getpid()"))


def test_every_module_has_a_docstring() -> None:
    assert [path for path, module in modules() if not ast.get_docstring(module)] == []


def shared_names(paths: dict[str, set[str]]) -> dict[str, set[str]]:
    """Names that a framework shares with another package. Domains may share names with each other."""
    return {name: found for name, found in paths.items() if len(found) > 1 and not all(map(is_of_domain, found))}


def test_no_two_classes_share_a_name() -> None:
    """The GraphQL types of schema/ have the names of the rows they show; migrations have frozen copies of the types."""
    found = defaultdict(set)
    for path, module in modules():
        if path.startswith("migrations/") or (path.startswith("schema/") and is_of_domain(path)):
            continue
        for node in module.body:
            if isinstance(node, ast.ClassDef):
                found[node.name].add(path)
    assert shared_names(found) == {}


def test_no_two_modules_share_a_name() -> None:
    """The modules of gateway/cli are named after their commands, and migrations after their numbers."""
    found = defaultdict(set)
    for path, _ in modules():
        if not path.startswith(("gateway/cli/", "migrations/")) and not path.endswith("__init__.py"):
            found[Path(path).stem].add(path)
    assert shared_names(found) == {}


def exists(name: str) -> bool:
    """Whether there is a module or a package of that name."""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists()


def test_the_import_contracts_name_every_domain() -> None:
    """import-linter cannot derive the list of domains. The event store's table belongs to the frameworks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {contract["name"]: contract for contract in project["tool"]["importlinter"]["contracts"]}
    layers = contracts["Packages of resolvers/ import downwards only; domains do not import each other"]["layers"]
    assert DOMAINS in [{name.strip() for name in layer.split("|")} for layer in layers]
    forbidden = set(contracts["Frameworks import no domain"]["forbidden_modules"])
    for domain in DOMAINS:
        modules = {f"schema.{domain}", f"resolvers.{domain}", f"repositories.{domain}", f"repositories.tables.{domain}"}
        assert {name for name in modules - forbidden if exists(name)} <= {"repositories.tables.events"}
