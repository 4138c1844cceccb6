"""The inputs of commands on clients and contacts beyond the derived ones."""

from typing import Annotated, Any

from pydantic import Field

from repositories.sql.aggregate import aggregates
from repositories.tables.client_management import Client, Contact
from resolvers.aggregates.derived_inputs import create_input, new_row_input

_client, _contact = aggregates[Client], aggregates[Contact]
_list: Any = list

MAX_CONTACTS = 100

NewContact = new_row_input(_contact, "NewContact", "A new contact of a new client.", without={"client_id"})
AddContact = create_input(_contact)
CreateClient = new_row_input(
    _client,
    "CreateClient",
    "A new client, with its first contacts.",
    more={
        "contacts": (
            Annotated[_list[NewContact], Field(max_length=MAX_CONTACTS)],
            Field([], description=f"The first contacts, at most {MAX_CONTACTS}. They are created with the client."),
        )
    },
)
