"""The GraphQL type of amounts of money."""

from decimal import Decimal

import strawberry

from repositories.core import money as values
from schema.types.derived_types import result_view


@result_view(values.Money)
class Money:
    decimal: Decimal = strawberry.field(
        resolver=lambda root: root.decimal,
        description='The amount in the currency itself, with all digits of the currency: "12.50" for 1250 cents. JPY '
        "has no digits after the decimal point, KWD has three.",
    )
