"""Commands on categories and stock beyond the derived ones."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints
from strawberry import Maybe

from repositories.aggregates.derived import event_for
from repositories.aggregates.unit_of_work import UnitOfWork
from repositories.commerce.catalog import CategoryTree, ProductCategories, Products
from repositories.commerce.events import CategoryMoved, StockMoved
from repositories.commerce.stock import StockMovements
from repositories.core.errors import InputError, NotFound, ValidationError
from repositories.tables.commerce import MAX_DEPTH, MAX_MOVEMENT, MovementKind, ProductCategory, StockMovement
from resolvers.aggregates.derived_commands import row_command, takes
from resolvers.aggregates.derived_inputs import input_model
from resolvers.aggregates.handlers import lock_row
from resolvers.aggregates.rules import Rules, Values, add_rules
from resolvers.validation.command import Storable, changed_fields, provided_fields
from resolvers.validation.global_ids import GlobalKey

# categories


def _check_depth(tree: CategoryTree, parent: UUID, levels: int) -> Sequence[InputError]:
    """An error if a category with so many levels would be too deep below a parent."""
    if len(tree.path(parent)) + levels <= MAX_DEPTH:
        return ()
    return (ValidationError(f"Categories have at most {MAX_DEPTH} levels.", path=("parent_id",)),)


async def _check_category(work: UnitOfWork, before: ProductCategory | None, values: Values) -> Sequence[InputError]:
    """An error if a new category would be too deep."""
    parent = values.get("parent_id")
    if before is not None or parent is None:
        return ()
    tree = await work.repository(ProductCategories).lock_tree()
    return _check_depth(tree, parent, 1) if parent in tree else ()


_category_rules: Rules[ProductCategory] = Rules(check=_check_category)
add_rules(ProductCategory, _category_rules)

_maybe: Any = Maybe
_Category = Annotated[UUID, GlobalKey("ProductCategory")]
_Position = Annotated[int, Field(ge=0, le=10_000)]


@row_command(
    ProductCategory,
    "The category to move, and its new place. Fields that are left out keep their values.",
    {
        "parent_id": (_maybe[_Category | None], Field(description="The new parent. Null: the first level.")),
        "position": (_maybe[_Position], Field(description="The new position in the parent, 0 to 10,000.")),
    },
)
async def move_product_category(work: UnitOfWork, command: Any) -> ProductCategory:
    """Moves a category with all categories below it.

    Possible errors: NOT_FOUND if the category or the parent does not exist, VALIDATION_ERROR if a category would be in
    itself, or if the tree would have more than five levels.
    """
    tree = await work.repository(ProductCategories).lock_tree()
    row = await lock_row(work, ProductCategory, command)
    values = changed_fields(work, row, provided_fields(command, "parent_id", "position"))
    parent = values.get("parent_id")
    if parent is not None:
        _check_parent(tree, row, parent)
    return await work.change(row, CategoryMoved, **values) if values else row


def _check_parent(tree: CategoryTree, row: ProductCategory, parent: UUID) -> None:
    if parent not in tree:
        raise NotFound.of(ProductCategories.noun, path=("parent_id",))
    if row.id in tree.path(parent):
        raise ValidationError("A category cannot be in itself, or in a category below it.", path=("parent_id",))
    for error in _check_depth(tree, parent, tree.height(row.id)):
        raise error


# stock


async def move_stock(work: UnitOfWork, movements: Sequence[Mapping[str, Any]], owner: UUID) -> list[StockMovement]:
    """Appends movements to the ledger, which changes the levels, and records their events for ``owner``.

    Raises Conflict if there are too few pieces of a product. Executes one statement.
    """
    common = {"actor_id": work.viewer.id, "created_at": work.now, "updated_at": work.now}
    rows = await work.repository(StockMovements).add_many([{"note": None, **each, **common} for each in movements])
    for row in rows:
        work.record(event_for(StockMoved, row, owner))
    return rows


def _check_not_zero(quantity: int) -> int:
    if quantity == 0:
        message = "A correction must not be 0"
        raise ValueError(message)
    return quantity


_product = (Annotated[UUID, GlobalKey("Product")], Field(description="The product."))
_note = (
    Annotated[str, StringConstraints(max_length=1000), Storable] | None,
    Field(None, description="A note, at most 1,000 characters."),
)
_received = (
    Annotated[int, Field(ge=1, le=MAX_MOVEMENT)],
    Field(description=f"The number of pieces that arrived, 1 to {MAX_MOVEMENT:,}."),
)
_correction = (
    Annotated[int, Field(ge=-MAX_MOVEMENT, le=MAX_MOVEMENT), AfterValidator(_check_not_zero)],
    Field(
        description=f"What to add to the pieces on hand, not 0, negative for missing pieces; at most {MAX_MOVEMENT:,}."
    ),
)


@takes(
    input_model(
        "ReceiveStock",
        "Pieces of a product that arrived.",
        {"product_id": _product, "quantity": _received, "note": _note},
    )
)
async def receive_stock(work: UnitOfWork, command: Any) -> StockMovement:
    """Adds pieces of a product that arrived in the warehouse.

    Possible errors: VALIDATION_ERROR, NOT_FOUND if the product does not exist, CONFLICT above a billion pieces.
    """
    return await _move_one(work, command, MovementKind.RECEIVED)


@takes(
    input_model(
        "CorrectStock",
        "A correction of the number of pieces of a product, for example after an inventory.",
        {"product_id": _product, "quantity": _correction, "note": _note},
    )
)
async def correct_stock(work: UnitOfWork, command: Any) -> StockMovement:
    """Corrects the number of pieces on hand. Reserved pieces cannot be removed; cancel their orders first.

    Possible errors: VALIDATION_ERROR, NOT_FOUND if the product does not exist, CONFLICT if fewer pieces than the
    reserved ones would be left.
    """
    return await _move_one(work, command, MovementKind.CORRECTED)


async def _move_one(work: UnitOfWork, command: Any, kind: MovementKind) -> StockMovement:
    if not await work.repository(Products).lock_for_reference([command.product_id]):
        raise NotFound.of(Products.noun, path=("product_id",))
    values = {"product_id": command.product_id, "quantity": command.quantity, "note": command.note}
    (row,) = await move_stock(work, [{**values, "kind": kind, "order_item_id": None}], work.viewer_id)
    return row
