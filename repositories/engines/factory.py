"""Chooses the engine. No other module imports both engines."""

from repositories.engines.database import Database, DatabaseOptions


def open_database(options: DatabaseOptions) -> Database:
    """Returns the database for these options. Call :meth:`Database.connect` before the first use."""
    if options.url:
        from repositories.engines.postgresql import PostgresDatabase  # noqa: PLC0415 (loads only the driver in use)

        return PostgresDatabase(options)
    from repositories.engines.sqlite import SqliteDatabase  # noqa: PLC0415 (as above)

    return SqliteDatabase(options)
