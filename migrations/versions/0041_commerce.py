"""Creates the catalogue, the stock and the orders, and the roles of those who manage them."""

import sqlalchemy as sa
from alembic import op

from migrations import helpers
from migrations.column_types import Fixed, Flag, Id, Json, Timestamp

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None

_AT = "2026-11-01T00:00:00.000000+00:00"
_ROLES = {
    "catalog_manager": ("019bf000-0000-7000-8000-000000000001", "Manages products, their categories and their stock."),
    "order_manager": ("019bf000-0000-7000-8000-000000000002", "Manages the orders of all users."),
}
_READERS_BEFORE = (
    f"{helpers.owned_by('user_id')} OR event_data ->> 'owner_id' = (SELECT auth.uid())::text OR {helpers.IS_ADMIN} "
    f"OR {helpers.has_role('partnership_manager')} AND aggregate_type IN ('partner', 'referral')"
)
_READERS = (
    f"{_READERS_BEFORE} OR {helpers.has_role('catalog_manager')} "
    "AND aggregate_type IN ('product', 'product_category', 'stock_movement') "
    f"OR {helpers.has_role('order_manager')} AND aggregate_type IN ('order', 'order_item', 'stock_movement')"
)
"""Every manager may read the histories of what the managers manage together."""
_IS_CATALOG_MANAGER = f"{helpers.IS_ADMIN} OR {helpers.has_role('catalog_manager')}"
_IS_ORDER_MANAGER = f"{helpers.IS_ADMIN} OR {helpers.has_role('order_manager')}"
_IS_MANAGER = f"{_IS_CATALOG_MANAGER} OR {helpers.has_role('order_manager')}"
_IS_SLUG = (
    "length(slug) BETWEEN 1 AND 100 AND ltrim(slug, 'abcdefghijklmnopqrstuvwxyz0123456789-') = '' "
    "AND '-' || slug || '-' NOT LIKE '%--%'"
)
_IS_SKU = (
    "length(sku) BETWEEN 1 AND 64 "
    "AND ltrim(sku, 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-') = ''"
)
_ADD_LEVEL = "INSERT INTO {stock_levels} (id, on_hand, reserved, available) VALUES (NEW.id, 0, 0, 0)"
_ON_HAND = "CASE WHEN NEW.kind IN ('received', 'shipped', 'returned', 'corrected') THEN NEW.quantity ELSE 0 END"
_RESERVED = "CASE WHEN NEW.kind IN ('reserved', 'released', 'shipped') THEN NEW.quantity ELSE 0 END"
_MOVE_STOCK = (
    f"UPDATE {{stock_levels}} SET on_hand = on_hand + {_ON_HAND}, reserved = reserved + {_RESERVED}, "
    f"available = available + {_ON_HAND} - {_RESERVED} WHERE id = NEW.product_id"
)
_TRIGGERS = {"products_add_level": ("products", _ADD_LEVEL), "stock_movements_move": ("stock_movements", _MOVE_STOCK)}


def upgrade() -> None:
    helpers.create_schema("commerce")
    _create_product_categories()
    _create_orders()
    _create_products()
    _create_order_items()
    _create_stock_levels()
    _create_stock_movements()
    helpers.append_only("commerce", "stock_movements")
    _keep_levels()
    _create_roles()
    if helpers.is_postgresql():
        helpers.revoke_execute("commerce.stock_movements_are_append_only")
        op.execute(f"ALTER POLICY viewer_select ON public.domain_events USING ({_READERS})")


def _create_product_categories() -> None:
    op.create_table(
        "product_categories",
        helpers.id_column(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("parent_id", Id()),
        sa.Column("position", sa.Integer(), nullable=False, server_default=sa.text("0")),
        *helpers.timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_product_categories"),
        sa.UniqueConstraint("slug", name="uq_product_categories_slug"),
        sa.ForeignKeyConstraint(
            ["parent_id"], [helpers.ref("commerce.product_categories.id")], name="fk_product_categories_parent_id"
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 100", name=op.f("ck_product_categories_name_length")),
        sa.CheckConstraint(
            r"name !~ '[\u0001-\u001F\u007F-\u009F\u2028\u2029\u200B\u2060\uFEFF]'",
            name=op.f("ck_product_categories_name_line"),
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint("parent_id <> id", name=op.f("ck_product_categories_parent_id_shape")),
        sa.CheckConstraint("position >= 0 AND position <= 10000", name=op.f("ck_product_categories_position_range")),
        sa.CheckConstraint(
            _IS_SLUG,
            name=op.f("ck_product_categories_slug_shape"),
        ),
        *helpers.time_ranges("product_categories", "created_at", "updated_at"),
        schema=helpers.schema("commerce"),
    )
    op.create_index(
        "ix_product_categories_parent_id",
        "product_categories",
        ["parent_id", "position"],
        schema=helpers.schema("commerce"),
    )
    op.create_index(
        "ix_product_categories_position", "product_categories", ["position", "name"], schema=helpers.schema("commerce")
    )
    helpers.row_level_security(
        "commerce.product_categories",
        read="true",
        write=_IS_CATALOG_MANAGER,
    )


def _create_orders() -> None:
    op.create_table(
        "orders",
        helpers.id_column(),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False, server_default=sa.text("'draft'")),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("subtotal", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("tax", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("total", sa.BigInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("shipping_address", sa.Text()),
        sa.Column("placed_at", Timestamp()),
        sa.Column("paid_at", Timestamp()),
        sa.Column("shipped_at", Timestamp()),
        sa.Column("canceled_at", Timestamp()),
        sa.Column("payment_id", Id()),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        *helpers.timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_orders"),
        sa.UniqueConstraint("number", name="uq_orders_number"),
        sa.UniqueConstraint("user_id", "id", name="uq_orders_owner"),
        sa.ForeignKeyConstraint(["user_id"], [helpers.ref("identity.users.id")], name="fk_orders_user_id"),
        sa.CheckConstraint("status <> 'canceled' OR canceled_at IS NOT NULL", name=op.f("ck_orders_canceled_at_shape")),
        sa.CheckConstraint(
            "length(currency) = 3 AND ltrim(currency, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') = ''",
            name=op.f("ck_orders_currency_shape"),
        ),
        sa.CheckConstraint("length(number) BETWEEN 1 AND 20", name=op.f("ck_orders_number_length")),
        sa.CheckConstraint(
            "status NOT IN ('paid', 'shipped', 'completed', 'refunded') OR paid_at IS NOT NULL",
            name=op.f("ck_orders_paid_at_shape"),
        ),
        sa.CheckConstraint(
            "status IN ('draft', 'canceled') OR (placed_at IS NOT NULL AND shipping_address IS NOT NULL)",
            name=op.f("ck_orders_placed_at_shape"),
        ),
        sa.CheckConstraint(
            "status NOT IN ('shipped', 'completed') OR shipped_at IS NOT NULL", name=op.f("ck_orders_shipped_at_shape")
        ),
        sa.CheckConstraint("substr(shipping_address, 1, 2) = '1.'", name=op.f("ck_orders_shipping_address_shape")),
        sa.CheckConstraint(
            "status IN ('draft', 'placed', 'paid', 'shipped', 'completed', 'canceled', 'refunded')",
            name=op.f("ck_orders_status_choice"),
        ),
        sa.CheckConstraint("subtotal >= 0 AND subtotal <= 9007199254740991", name=op.f("ck_orders_subtotal_range")),
        sa.CheckConstraint("tax >= 0 AND tax <= 9007199254740991", name=op.f("ck_orders_tax_range")),
        sa.CheckConstraint("total >= 0 AND total <= 9007199254740991", name=op.f("ck_orders_total_range")),
        sa.CheckConstraint("total = subtotal + tax", name=op.f("ck_orders_total_shape")),
        *helpers.time_ranges("orders", "placed_at", "paid_at", "shipped_at", "canceled_at", "created_at", "updated_at"),
        schema=helpers.schema("commerce"),
    )
    op.create_index("ix_orders_created_at", "orders", ["created_at", "id"], schema=helpers.schema("commerce"))
    op.create_index("ix_orders_paid_at", "orders", ["paid_at"], schema=helpers.schema("commerce"))
    op.create_index("ix_orders_payment_id", "orders", ["payment_id"], schema=helpers.schema("commerce"))
    op.create_index("ix_orders_status_placed_at", "orders", ["status", "placed_at"], schema=helpers.schema("commerce"))
    op.create_index(
        "ix_orders_user_id_created_at", "orders", ["user_id", "created_at", "id"], schema=helpers.schema("commerce")
    )
    op.create_index(
        "uq_orders_draft",
        "orders",
        ["user_id"],
        unique=True,
        schema=helpers.schema("commerce"),
        postgresql_where=sa.text("status = 'draft'"),
        sqlite_where=sa.text("status = 'draft'"),
    )
    helpers.row_level_security(
        "commerce.orders",
        read=f"{helpers.owned_by('user_id')} OR {_IS_ORDER_MANAGER}",
        write=f"{helpers.owned_by('user_id')} OR {_IS_ORDER_MANAGER}",
        secret=["shipping_address"],
    )
    helpers.limit_transitions(
        "commerce",
        "orders",
        "status",
        [
            "draft>placed",
            "draft>paid",
            "draft>canceled",
            "placed>paid",
            "placed>canceled",
            "paid>shipped",
            "paid>canceled",
            "paid>refunded",
            "shipped>completed",
            "shipped>refunded",
            "completed>refunded",
            "canceled>refunded",
        ],
    )


def _create_products() -> None:
    op.create_table(
        "products",
        helpers.id_column(),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("description", sa.Text()),
        sa.Column("category_id", Id()),
        sa.Column("price_amount", sa.Integer(), nullable=False),
        sa.Column("price_currency", sa.Text(), nullable=False),
        sa.Column("tax_rate", Fixed(5, 4), nullable=False),
        sa.Column("is_active", Flag(), nullable=False, server_default=sa.text("'1'")),
        sa.Column("attributes", Json(), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("version", sa.Integer(), nullable=False, server_default=sa.text("1")),
        sa.Column("deleted_at", Timestamp()),
        *helpers.timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
        sa.UniqueConstraint("sku", name="uq_products_sku"),
        sa.UniqueConstraint("slug", name="uq_products_slug"),
        sa.ForeignKeyConstraint(
            ["category_id"], [helpers.ref("commerce.product_categories.id")], name="fk_products_category_id"
        ),
        sa.CheckConstraint(
            "substr(CAST(attributes AS TEXT), 1, 1) = '{' AND length(CAST(attributes AS TEXT)) <= 20000",
            name=op.f("ck_products_attributes_shape"),
        ),
        sa.CheckConstraint("length(description) BETWEEN 0 AND 10000", name=op.f("ck_products_description_length")),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name=op.f("ck_products_name_length")),
        sa.CheckConstraint(
            r"name !~ '[\u0001-\u001F\u007F-\u009F\u2028\u2029\u200B\u2060\uFEFF]'", name=op.f("ck_products_name_line")
        ).ddl_if(dialect="postgresql"),
        sa.CheckConstraint(
            "price_amount >= 0 AND price_amount <= 1000000000", name=op.f("ck_products_price_amount_range")
        ),
        sa.CheckConstraint(
            "length(price_currency) = 3 AND ltrim(price_currency, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') = ''",
            name=op.f("ck_products_price_currency_shape"),
        ),
        sa.CheckConstraint(_IS_SKU, name=op.f("ck_products_sku_shape")),
        sa.CheckConstraint(
            _IS_SLUG,
            name=op.f("ck_products_slug_shape"),
        ),
        sa.CheckConstraint("tax_rate <> 'NaN'", name=op.f("ck_products_tax_rate_finite")).ddl_if(dialect="postgresql"),
        sa.CheckConstraint(
            helpers.per_engine("tax_rate >= 0 AND tax_rate <= 1", sqlite="tax_rate >= 0 AND tax_rate <= 10000"),
            name=op.f("ck_products_tax_rate_range"),
        ),
        *helpers.time_ranges("products", "deleted_at", "created_at", "updated_at"),
        schema=helpers.schema("commerce"),
    )
    op.create_index("ix_products_category_id", "products", ["category_id", "name"], schema=helpers.schema("commerce"))
    op.create_index("ix_products_name", "products", ["name", "id"], schema=helpers.schema("commerce"))
    op.create_index("ix_products_price_amount", "products", ["price_amount", "id"], schema=helpers.schema("commerce"))
    op.create_index("ix_products_updated_at", "products", ["updated_at"], schema=helpers.schema("commerce"))
    helpers.row_level_security("commerce.products", read="true", write=_IS_CATALOG_MANAGER)


def _create_order_items() -> None:
    op.create_table(
        "order_items",
        helpers.id_column(),
        sa.Column("order_id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("product_id", Id(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("unit_price", sa.Integer(), nullable=False),
        sa.Column("tax_rate", Fixed(5, 4), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("line_total", sa.BigInteger(), nullable=False),
        *helpers.timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_order_items"),
        sa.UniqueConstraint("order_id", "product_id", name="uq_order_items_order_id_product_id"),
        sa.ForeignKeyConstraint(
            ["user_id", "order_id"],
            [helpers.ref("commerce.orders.user_id"), helpers.ref("commerce.orders.id")],
            name="fk_order_items_order",
        ),
        sa.ForeignKeyConstraint(
            ["product_id"], [helpers.ref("commerce.products.id")], name="fk_order_items_product_id"
        ),
        sa.CheckConstraint(
            "length(currency) = 3 AND ltrim(currency, 'ABCDEFGHIJKLMNOPQRSTUVWXYZ') = ''",
            name=op.f("ck_order_items_currency_shape"),
        ),
        sa.CheckConstraint(
            "line_total >= 0 AND line_total <= 9007199254740991", name=op.f("ck_order_items_line_total_range")
        ),
        sa.CheckConstraint("length(name) BETWEEN 1 AND 255", name=op.f("ck_order_items_name_length")),
        sa.CheckConstraint("quantity >= 1 AND quantity <= 999", name=op.f("ck_order_items_quantity_range")),
        sa.CheckConstraint("length(sku) BETWEEN 1 AND 64", name=op.f("ck_order_items_sku_length")),
        sa.CheckConstraint("tax_rate <> 'NaN'", name=op.f("ck_order_items_tax_rate_finite")).ddl_if(
            dialect="postgresql"
        ),
        sa.CheckConstraint(
            helpers.per_engine("tax_rate >= 0 AND tax_rate <= 1", sqlite="tax_rate >= 0 AND tax_rate <= 10000"),
            name=op.f("ck_order_items_tax_rate_range"),
        ),
        sa.CheckConstraint(
            "unit_price >= 0 AND unit_price <= 1000000000", name=op.f("ck_order_items_unit_price_range")
        ),
        *helpers.time_ranges("order_items", "created_at", "updated_at"),
        schema=helpers.schema("commerce"),
    )
    op.create_index("ix_order_items_product_id", "order_items", ["product_id"], schema=helpers.schema("commerce"))
    op.create_index("ix_order_items_user_id", "order_items", ["user_id", "order_id"], schema=helpers.schema("commerce"))
    helpers.row_level_security(
        "commerce.order_items",
        read=f"{helpers.owned_by('user_id')} OR {_IS_ORDER_MANAGER}",
        write=f"{helpers.owned_by('user_id')} OR {_IS_ORDER_MANAGER}",
    )


def _create_stock_levels() -> None:
    op.create_table(
        "stock_levels",
        helpers.id_column(),
        sa.Column("on_hand", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("reserved", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("available", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.PrimaryKeyConstraint("id", name="pk_stock_levels"),
        sa.ForeignKeyConstraint(
            ["id"], [helpers.ref("commerce.products.id")], name="fk_stock_levels_id", ondelete="CASCADE"
        ),
        sa.CheckConstraint("available = on_hand - reserved", name=op.f("ck_stock_levels_available_shape")),
        sa.CheckConstraint("on_hand <= 1000000000", name=op.f("ck_stock_levels_on_hand_limit")),
        sa.CheckConstraint("reserved >= 0 AND reserved <= on_hand", name=op.f("ck_stock_levels_stock_range")),
        schema=helpers.schema("commerce"),
    )
    op.create_index("ix_stock_levels_available", "stock_levels", ["available"], schema=helpers.schema("commerce"))
    helpers.row_level_security("commerce.stock_levels", read="true", write="false")


def _create_stock_movements() -> None:
    op.create_table(
        "stock_movements",
        helpers.id_column(),
        sa.Column("product_id", Id(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("order_item_id", Id()),
        sa.Column("note", sa.Text()),
        sa.Column("actor_id", Id()),
        *helpers.timestamps(),
        sa.PrimaryKeyConstraint("id", name="pk_stock_movements"),
        sa.UniqueConstraint("order_item_id", "kind", name="uq_stock_movements_order_item_id_kind"),
        sa.ForeignKeyConstraint(["actor_id"], [helpers.ref("identity.users.id")], name="fk_stock_movements_actor_id"),
        sa.ForeignKeyConstraint(
            ["order_item_id"], [helpers.ref("commerce.order_items.id")], name="fk_stock_movements_order_item_id"
        ),
        sa.ForeignKeyConstraint(
            ["product_id"], [helpers.ref("commerce.products.id")], name="fk_stock_movements_product_id"
        ),
        sa.CheckConstraint(
            "kind IN ('received', 'reserved', 'released', 'shipped', 'returned', 'corrected')",
            name=op.f("ck_stock_movements_kind_choice"),
        ),
        sa.CheckConstraint("length(note) BETWEEN 0 AND 1000", name=op.f("ck_stock_movements_note_length")),
        sa.CheckConstraint(
            "(kind IN ('received', 'corrected')) = (order_item_id IS NULL)",
            name=op.f("ck_stock_movements_order_item_id_shape"),
        ),
        sa.CheckConstraint(
            "quantity >= -1000000 AND quantity <= 1000000", name=op.f("ck_stock_movements_quantity_range")
        ),
        sa.CheckConstraint(
            "quantity <> 0 AND (kind = 'corrected' OR (kind IN ('released', 'shipped')) = (quantity < 0))",
            name=op.f("ck_stock_movements_quantity_shape"),
        ),
        *helpers.time_ranges("stock_movements", "created_at", "updated_at"),
        schema=helpers.schema("commerce"),
    )
    op.create_index("ix_stock_movements_actor_id", "stock_movements", ["actor_id"], schema=helpers.schema("commerce"))
    op.create_index(
        "ix_stock_movements_created_at", "stock_movements", ["created_at", "id"], schema=helpers.schema("commerce")
    )
    op.create_index(
        "ix_stock_movements_kind", "stock_movements", ["kind", "created_at"], schema=helpers.schema("commerce")
    )
    op.create_index(
        "ix_stock_movements_product_id",
        "stock_movements",
        ["product_id", "created_at", "id"],
        schema=helpers.schema("commerce"),
    )
    helpers.row_level_security(
        "commerce.stock_movements",
        read=f"{helpers.owned_by('actor_id')} OR {_IS_MANAGER}",
        write=f"{helpers.owned_by('actor_id')} AND kind IN ('reserved', 'released') OR {_IS_MANAGER}",
    )


def _keep_levels() -> None:
    """Creates triggers: a new product gets its stock level, and every movement changes it in the same statement.

    Viewers may not write levels. On PostgreSQL the functions therefore belong to ``service_role``.
    """
    for name, (table, change) in _TRIGGERS.items():
        if not helpers.is_postgresql():
            action = change.format(stock_levels="stock_levels")
            op.execute(f"CREATE TRIGGER {name} AFTER INSERT ON {table} BEGIN {action}; END")
            continue
        op.execute("GRANT CREATE ON SCHEMA commerce TO service_role")
        op.execute(
            f"CREATE FUNCTION commerce.{name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' "
            f"AS $f$ BEGIN {change.format(stock_levels='commerce.stock_levels')}; RETURN NULL; END $f$"
        )
        op.execute(
            f"CREATE TRIGGER {name} AFTER INSERT ON commerce.{table} FOR EACH ROW EXECUTE FUNCTION commerce.{name}()"
        )
        op.execute(f"ALTER FUNCTION commerce.{name}() OWNER TO service_role")
        op.execute("REVOKE CREATE ON SCHEMA commerce FROM service_role")
        helpers.revoke_execute(f"commerce.{name}")


def _create_roles() -> None:
    """Inserts the roles, as the role that sees all rows."""
    values = ", ".join(f"('{key}', '{name}', '{text}', '{_AT}', '{_AT}')" for name, (key, text) in _ROLES.items())
    _as_service()
    op.execute(
        f"INSERT INTO {helpers.named('administration.roles')} (id, name, description, created_at, updated_at) "
        f"VALUES {values}"
    )
    _as_owner()


def _as_service() -> None:
    if helpers.is_postgresql():
        op.execute("SET LOCAL ROLE service_role")


def _as_owner() -> None:
    if helpers.is_postgresql():
        op.execute("RESET ROLE")


def downgrade() -> None:
    """Deletes the grants of the roles too."""
    if helpers.is_postgresql():
        op.execute(f"ALTER POLICY viewer_select ON public.domain_events USING ({_READERS_BEFORE})")
    names = ", ".join(f"'{name}'" for name in _ROLES)
    roles, grants = helpers.named("administration.roles"), helpers.named("administration.user_roles")
    _as_service()
    op.execute(f"DELETE FROM {grants} WHERE role_id IN (SELECT id FROM {roles} WHERE name IN ({names}))")
    op.execute(f"DELETE FROM {roles} WHERE name IN ({names})")
    _as_owner()
    helpers.allow_transitions("commerce", "orders", "status")
    for table in ("stock_movements", "stock_levels", "order_items", "products", "orders", "product_categories"):
        op.drop_table(table, schema=helpers.schema("commerce"))
    if helpers.is_postgresql():
        for function in (*_TRIGGERS, "stock_movements_are_append_only"):
            op.execute(f"DROP FUNCTION commerce.{function}()")
    helpers.drop_schema("commerce")
