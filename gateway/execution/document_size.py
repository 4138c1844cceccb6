"""How much work a document would be, counted before the work is done."""

import re
from collections import defaultdict
from collections.abc import Iterable

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

from gateway.execution.request_errors import RequestError

_TOKEN = re.compile(
    r'"""(?:[^"\\]|\\"""|\\|"(?!""))*+(?:""")?'
    r'|"(?:[^"\\\n\r]|\\.)*+"?'
    r"|\#[^\n\r]*+"
    r"|[_A-Za-z][_0-9A-Za-z]*+|-?[0-9][0-9.eE+-]*+|\.\.\.|[!$&()\[\]{}:=@|]"
)

_LONGEST = 60_000
_LONGEST_NUMBER = 400
_MOST_DIRECTIVES = 100
_MOST_COMPARISONS = 4_000
_MOST_FIELDS = 5_000
_OF_OBJECTS = 8
"""Comparing two fields with selections costs about as much as comparing eight pairs of leaves."""


def check_tokens(text: str, most: int) -> None:
    """Refuses what is too long or has too many tokens, in a fraction of the time it takes to parse them."""
    if len(text) > _LONGEST:
        message = f"The document has more than {_LONGEST} characters. Send values as variables."
        raise RequestError.of(message, "QUERY_TOO_COMPLEX")
    found = _TOKEN.findall(text)
    if len(found) > most:
        message = f"The document has more than {most} tokens. Split it into several operations."
        raise RequestError.of(message, "QUERY_TOO_COMPLEX")
    if found.count("@") > _MOST_DIRECTIVES:
        message = f"The document has more than {_MOST_DIRECTIVES} directives. Split it into several operations."
        raise RequestError.of(message, "QUERY_TOO_COMPLEX")
    if any(len(token) > _LONGEST_NUMBER and token[0] in "-0123456789" for token in found):
        message = f"The document has a number of more than {_LONGEST_NUMBER} characters."
        raise RequestError.of(message, "GRAPHQL_VALIDATION_FAILED")


def check_overlaps(ast: DocumentNode) -> None:
    """Refuses what would make validation compare too many pairs of fields with each other."""
    fragments = {
        node.name.value: node.selection_set for node in ast.definitions if isinstance(node, FragmentDefinitionNode)
    }
    operations = [node.selection_set for node in ast.definitions if isinstance(node, OperationDefinitionNode)]
    counter = _Counter(fragments)
    for root in (*operations, *fragments.values()):
        counter.count([root])


class _Counter:
    """Walks the tree of the answer: the fields of one place in it are those that are compared with each other.

    A fragment that is spread in the same places as before has been counted.
    """

    def __init__(self, fragments: dict[str, SelectionSetNode]) -> None:
        self._fragments = fragments
        self._counted: set[frozenset[int]] = set()
        self._comparisons = 0
        self._fields = 0

    def count(self, root: list[SelectionSetNode]) -> None:
        """Adds the comparisons below a place that these selection sets make up."""
        places = [root]
        while places:
            place = places.pop()
            key = frozenset(map(id, place))
            if key in self._counted:
                continue
            self._counted.add(key)
            places += self._below(place)

    def _below(self, place: list[SelectionSetNode]) -> Iterable[list[SelectionSetNode]]:
        names: defaultdict[str, int] = defaultdict(int)
        below: defaultdict[str, list[SelectionSetNode]] = defaultdict(list)
        spread: set[str] = set()
        sets = list(place)
        while sets:
            for selection in sets.pop().selections:
                self._fields += 1
                if isinstance(selection, FieldNode):
                    name = (selection.alias or selection.name).value
                    names[name] += 1
                    if selection.selection_set is not None:
                        below[name].append(selection.selection_set)
                elif isinstance(selection, InlineFragmentNode):
                    sets.append(selection.selection_set)
                elif isinstance(selection, FragmentSpreadNode) and selection.name.value not in spread:
                    spread.add(selection.name.value)
                    if selection.name.value in self._fragments:
                        sets.append(self._fragments[selection.name.value])
            self._check()
        for name, times in names.items():
            self._comparisons += times * (times - 1) // 2 * (_OF_OBJECTS if name in below else 1)
        self._comparisons += len(spread) * (len(spread) - 1) // 2
        self._check()
        return below.values()

    def _check(self) -> None:
        if self._comparisons > _MOST_COMPARISONS:
            message = "The document asks for the same fields in the same place too often. Ask for each once."
            raise RequestError.of(message, "QUERY_TOO_COMPLEX")
        if self._fields > _MOST_FIELDS:
            message = f"The document has more than {_MOST_FIELDS} fields. Split it into several operations."
            raise RequestError.of(message, "QUERY_TOO_COMPLEX")
