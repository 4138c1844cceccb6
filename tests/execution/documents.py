"""Random valid documents with fragments, variables, aliases and directives."""

from dataclasses import dataclass, field
from typing import Any

from graphql import GraphQLObjectType, get_named_type, is_leaf_type
from hypothesis import strategies as st

from schema import schema

GRAPH = schema._schema
_TYPES = ("Query", "TaskConnection", "TaskEdge", "Task", "CategoryConnection", "Category", "LifeLockDashboard")
_FIELDS = {
    "Query": ["tasks", "categories", "dueTasks", "viewer", "lifeLockDashboard", "taskAnalytics", "nodes"],
    "User": ["id", "email", "roles"],
    "LifeLockDashboard": ["totalTasks", "weeklyProgress", "categoryBreakdown", "upcomingDeadlines"],
}
_REQUIRED = {
    "dueTasks": 'until: "2030-01-01T00:00:00Z"',
    "taskAnalytics": 'from: "2030-01-01", to: "2030-02-01"',
}
_IDS = ("ids: $ids", 'ids: "x"', "ids: 12345", "ids: []", "ids: [$id, $id]", "ids: $id")
_SIZES = ("", "first: 7", "first: $a", "first: $b", "last: $a", "first: null")
HEAD = "query Q($a: Int, $b: Int = 3, $c: Boolean = true, $ids: [ID!]! = [], $id: ID! = 7)"


@dataclass
class _Writer:
    draw: Any
    fragments: list[str]
    level: int = 0
    aliases: int = 0
    uses: set[str] = field(default_factory=set)

    def selections(self, parent: str, depth: int, after: int) -> str:
        """A selection set. It may spread the fragments with numbers greater than ``after``."""
        selections = [self.selection(parent, depth, after) for _ in range(self.draw(st.integers(1, 3)))]
        return "{ " + " ".join(selections) + " }"

    def selection(self, parent: str, depth: int, after: int) -> str:
        """A field, an inline fragment, or the spread of a later fragment of the type."""
        later = [f"F{number}" for number, on in enumerate(self.fragments) if number > after and on == parent]
        kind = self.draw(st.sampled_from(["field", "field", "inline", *(["spread"] * 3 if later else [])]))
        directive = self.draw(st.sampled_from(["", "", "@include(if: $c)", "@skip(if: false) @include(if: true)"]))
        if kind == "spread":
            return f"...{self.draw(st.sampled_from(later))} {directive}"
        if kind == "inline":
            condition = self.draw(st.sampled_from(["", f"on {parent}"]))
            return f"... {condition} {directive} {self.selections(parent, depth, after)}"
        return self.write_field(parent, depth, after, directive)

    def write_field(self, parent: str, depth: int, after: int, directive: str) -> str:
        """A field with an alias of its own, so that no two fields conflict."""
        kind = GRAPH.type_map[parent]
        assert isinstance(kind, GraphQLObjectType)
        names = _FIELDS.get(parent) or list(kind.fields)
        if depth <= 0:
            names = ["__typename"]
        name = self.draw(st.sampled_from(names))
        if name == "__typename":
            return self.aliased(name, "", directive)
        definition = kind.fields[name]
        arguments = [self.draw(st.sampled_from(_IDS)) if name == "nodes" else _REQUIRED.get(name, "")]
        if "first" in definition.args:
            arguments.append(
                self.draw(st.sampled_from(_SIZES if "last" in definition.args else ("", "first: 7", "first: $b")))
            )
        inside = ", ".join(filter(None, arguments))
        target = get_named_type(definition.type)
        below = ""
        if not is_leaf_type(target):
            below = "{ __typename }" if target.name == "Node" else self.selections(target.name, depth - 1, after)
        return self.aliased(name, f"({inside})" if inside else "", f"{directive} {below}")

    def aliased(self, name: str, arguments: str, rest: str) -> str:
        self.aliases += 1
        return f"x{self.aliases}: {name}{arguments} {rest}"


@st.composite
def documents(draw: Any) -> str:
    """The text of a document with one operation."""
    kinds = draw(st.lists(st.sampled_from(_TYPES), max_size=6))
    writer = _Writer(draw, kinds)
    text = f"{HEAD} {writer.selections('Query', draw(st.integers(1, 6)), -1)}"
    for number, kind in enumerate(kinds):
        text += f"\nfragment F{number} on {kind} {writer.selections(kind, draw(st.integers(1, 4)), number)}"
    return text
