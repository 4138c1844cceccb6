"""All tables with their row types and policies, one module per domain.

Every module of this package is imported with it, so that a new domain needs no registration.
"""

import importlib
import pkgutil

from repositories.sql.contradictions import check_references
from repositories.sql.policy import policies, row_level_security
from repositories.sql.table import metadata

__all__ = ["metadata", "policies", "row_level_security"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
check_references(metadata.tables)
