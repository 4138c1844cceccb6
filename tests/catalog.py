"""What the catalog of a PostgreSQL database says of its schema."""

from typing import Any

import asyncpg

_CATALOG = """
    WITH ours AS (SELECT oid FROM pg_namespace WHERE nspname !~ '^pg_|information_schema')
    SELECT 'relation', c.oid::regclass::text, c.relkind::text, r.rolname, c.relrowsecurity::text, c.relforcerowsecurity::text,
        (SELECT string_agg(a::text, ' ' ORDER BY a::text)
            FROM unnest(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a), c.reloptions::text,
        CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END
        FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE c.relkind <> 't' AND c.relnamespace IN (TABLE ours)
    UNION ALL SELECT 'column', a.attrelid::regclass::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
        a.attnotnull::text, a.attidentity::text, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation::text,
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(a.attacl) a)
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relnamespace IN (TABLE ours)
    UNION ALL SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), NULL, NULL, NULL, NULL, NULL
        FROM pg_constraint WHERE connamespace IN (TABLE ours)
    UNION ALL SELECT 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid), NULL, NULL, NULL, NULL, NULL, NULL
        FROM pg_index JOIN pg_class c ON c.oid = indexrelid WHERE c.relnamespace IN (TABLE ours)
    UNION ALL SELECT 'policy', schemaname || '.' || tablename, policyname::text, permissive, roles::text, cmd, qual, with_check, NULL
        FROM pg_policies
    UNION ALL SELECT 'function', oid::regprocedure::text, pg_get_functiondef(oid),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(coalesce(proacl, acldefault('f', proowner))) a), obj_description(oid, 'pg_proc'),
        NULL, NULL, NULL, NULL FROM pg_proc WHERE pronamespace IN (TABLE ours)
    UNION ALL SELECT 'trigger', tgrelid::regclass::text, pg_get_triggerdef(oid), tgenabled::text, NULL, NULL, NULL, NULL, NULL
        FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL SELECT 'schema', nspname::text, (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(nspacl) a),
        NULL, NULL, NULL, NULL, NULL, NULL FROM pg_namespace n WHERE n.oid IN (TABLE ours)
"""  # noqa: E501 (one line for each kind)


async def fetch_catalog(url: str) -> list[Any]:
    """Everything that migrations make."""
    connection = await asyncpg.connect(url)
    rows: list[Any] = await connection.fetch(_CATALOG)
    await connection.close()
    return rows
