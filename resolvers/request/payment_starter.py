"""The service that starts payments, for domains whose users pay for something."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

from resolvers.request.context import Context


@dataclass(frozen=True, slots=True)
class PaymentStarter:
    """``start(context, order_id, amount, currency)`` returns the id of a payment and the client secret to pay it.

    If the order has a payment that can still be paid, it returns that one, so that a repetition starts no second one.
    It must not be called within a unit of work, because it waits for another company's service.
    """

    start: Callable[[Context, UUID, int, str], Awaitable[tuple[UUID, str]]]
