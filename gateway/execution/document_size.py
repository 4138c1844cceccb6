"""Rejects documents that take too much work to parse and validate, before that work is done."""

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

_MAX_LENGTH = 60_000
_MAX_NUMBER_LENGTH = 400
_MAX_DIRECTIVES = 100
_MAX_COMPARISONS = 4_000
_MAX_FIELDS = 5_000
_OBJECT_WEIGHT = 8
"""A comparison of two fields with selections costs about as much as eight comparisons of leaf fields."""


def check_tokens(text: str, max_tokens: int) -> None:
    """Rejects a text that is too long or has too many tokens, in a fraction of the time that parsing takes."""
    if len(text) > _MAX_LENGTH:
        message = f"The document has more than {_MAX_LENGTH} characters. Send values as variables."
        raise RequestError.of(message, "QUERY_TOO_COMPLEX")
    tokens = _TOKEN.findall(text)
    if len(tokens) > max_tokens:
        message = f"The document has more than {max_tokens} tokens. Split it into several operations."
        raise RequestError.of(message, "QUERY_TOO_COMPLEX")
    if tokens.count("@") > _MAX_DIRECTIVES:
        message = f"The document has more than {_MAX_DIRECTIVES} directives. Split it into several operations."
        raise RequestError.of(message, "QUERY_TOO_COMPLEX")
    if any(len(token) > _MAX_NUMBER_LENGTH and token[0] in "-0123456789" for token in tokens):
        message = f"The document has a number of more than {_MAX_NUMBER_LENGTH} characters."
        raise RequestError.of(message, "GRAPHQL_VALIDATION_FAILED")


def check_overlaps(ast: DocumentNode) -> None:
    """Rejects a document whose validation would compare too many pairs of fields."""
    fragments = {
        node.name.value: node.selection_set for node in ast.definitions if isinstance(node, FragmentDefinitionNode)
    }
    operations = [node.selection_set for node in ast.definitions if isinstance(node, OperationDefinitionNode)]
    counter = _OverlapCounter(fragments)
    for root in (*operations, *fragments.values()):
        counter.count([root])


class _OverlapCounter:
    """Counts the comparisons of fields with each other, which are those at the same place in the response.

    Selection sets that were counted together before are not counted again.
    """

    def __init__(self, fragments: dict[str, SelectionSetNode]) -> None:
        self._fragments = fragments
        self._counted: set[frozenset[int]] = set()
        self._comparisons = 0
        self._fields = 0

    def count(self, root: list[SelectionSetNode]) -> None:
        """Counts the comparisons at and below the place that these selection sets form."""
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
            self._comparisons += times * (times - 1) // 2 * (_OBJECT_WEIGHT if name in below else 1)
        self._comparisons += len(spread) * (len(spread) - 1) // 2
        self._check()
        return below.values()

    def _check(self) -> None:
        if self._comparisons > _MAX_COMPARISONS:
            message = "The document selects the same fields at the same place too often. Select each field once."
            raise RequestError.of(message, "QUERY_TOO_COMPLEX")
        if self._fields > _MAX_FIELDS:
            message = f"The document has more than {_MAX_FIELDS} fields. Split it into several operations."
            raise RequestError.of(message, "QUERY_TOO_COMPLEX")
