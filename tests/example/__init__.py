"""The smallest complete aggregate, a notebook: docs/adding-a-domain.md shows these files.

A domain registers its tables, policies, aggregates and types for the whole process. This domain is not part of the
gateway, so its entries are removed again here, and conftest.py restores them while its own tests run.
"""

from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

import schema.types.view
from repositories.sql.aggregate import aggregates
from repositories.tables import metadata, policies
from schema.aggregates.fields import derive_roots
from schema.node import NodeQueries
from schema.types.scalars import SCALARS

REGISTRIES: tuple[dict[Any, Any], ...] = (policies, aggregates, schema.types.view.VIEWS)
_others = [set(registry) for registry in REGISTRIES]
from tests.example.tables import Note  # noqa: E402 (registers the notebook)

_QUERIES, _MUTATIONS, _SUBSCRIPTIONS = derive_roots((), (), (), [aggregates[Note]])
SCHEMA = strawberry.Schema(
    strawberry.type(type("Query", (_QUERIES, NodeQueries), {})),
    strawberry.type(type("Mutation", (_MUTATIONS,), {})),
    strawberry.type(type("Subscription", (_SUBSCRIPTIONS,), {})),
    config=StrawberryConfig(scalar_map=SCALARS),
)
OWN = [
    {key: registry.pop(key) for key in set(registry) - others}
    for registry, others in zip(REGISTRIES, _others, strict=True)
]
for _table in OWN[0]:
    metadata.remove(_table)
