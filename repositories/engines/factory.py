"""Chooses the engine. It is the only module that knows both of them."""

from repositories.engines.database import Database, DatabaseOptions


def open_database(options: DatabaseOptions) -> Database:
    """The database that ``options`` describe. Call :meth:`Database.connect` before the first use."""
    if options.url:
        from repositories.engines.postgresql import PostgresDatabase  # noqa: PLC0415 (loads only the driver in use)

        return PostgresDatabase(options)
    from repositories.engines.sqlite import SqliteDatabase  # noqa: PLC0415 (as above)

    return SqliteDatabase(options)
