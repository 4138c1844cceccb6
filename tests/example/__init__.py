"""The smallest complete domain, a notebook: docs/adding-a-domain.md shows these very files.

What a domain declares is known to the whole process. This one is not the gateway's, so what it declared is taken back
at once, and is there again while its own tests run (conftest.py).
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
