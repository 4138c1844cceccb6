"""The configuration of logging. The command line imports it before anything that can fail, to log the failure."""

import logging
from typing import Any


def logging_config(level: str) -> dict[str, Any]:
    """The configuration for :func:`logging.config.dictConfig`: log to standard error. Every worker applies it."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {"alembic": {"level": "WARNING"}, "apscheduler": {"level": "WARNING"}},
        "root": {"level": logging.getLevelName(level.upper()), "handlers": ["stderr"]},
    }
