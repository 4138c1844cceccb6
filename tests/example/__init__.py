"""The smallest complete domain, a notebook: docs/adding-a-domain.md shows these files.

A domain registers its tables, policies and views for the whole process. This domain is not part of the gateway, so its
entries are removed again here, and conftest.py restores them while its own tests run.
"""

import importlib
from typing import Any

import schema.types.view
from repositories.tables import metadata, policies

REGISTRIES: tuple[dict[Any, Any], ...] = (policies, schema.types.view.VIEWS)
_others = [set(registry) for registry in REGISTRIES]
importlib.import_module("tests.example.contract")
OWN = [
    {key: registry.pop(key) for key in set(registry) - others}
    for registry, others in zip(REGISTRIES, _others, strict=True)
]
for _table in OWN[0]:
    metadata.remove(_table)
