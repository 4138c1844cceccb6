"""Settings that limit what one operation, or the operations of one viewer, may request."""

from typing import Literal

from pydantic import BaseModel, Field


class LimitSettings(BaseModel):
    max_cost: int = Field(
        100_000,
        ge=1,
        description="Maximum cost of an operation: about the number of objects that it requests, counted by its page "
        "sizes. Fields with `@cost` in the schema cost more.",
    )
    max_depth: int = Field(15, ge=1, le=100, description="Maximum depth of the nested fields of an operation.")
    max_fields: int = Field(
        2000, ge=1, description="Maximum number of fields in an operation, with its fragments expanded."
    )
    max_root_fields: int = Field(50, ge=1, description="Maximum number of root fields in an operation.")
    max_aliases: int = Field(
        100, ge=0, description="Maximum number of aliases in an operation, with its fragments expanded."
    )
    max_directives: int = Field(
        100, ge=0, description="Maximum number of directives in an operation, with its fragments expanded."
    )
    max_variable_values: int = Field(
        10_000,
        ge=1,
        description="Maximum number of values in the variables of an operation, counting the items of lists and the "
        "fields of objects.",
    )
    introspection: Literal["always", "signed_in", "never"] | None = Field(
        None,
        description="Who may read the schema by introspection: `always` everyone, `signed_in` signed-in viewers, "
        "`never` no one. For other viewers, errors contain no names of the schema that the client did not write. The "
        "default is `always` on SQLite and `signed_in` on PostgreSQL.",
    )
    max_operations_per_viewer: int = Field(
        20,
        ge=1,
        description="Maximum number of operations of one viewer that a process runs at the same time. The others wait, "
        "and viewers take turns. Anonymous callers are counted by network.",
    )
    max_waiting_operations: int = Field(
        200,
        ge=1,
        description="Maximum number of operations of one viewer that wait to run. Further ones are rejected with "
        "`RATE_LIMITED`.",
    )
    max_response_bytes: int = Field(
        10_000_000,
        ge=1000,
        description="Maximum size of the response to an operation, or to a batch of operations, in bytes. A larger "
        "one is an error, `RESPONSE_TOO_LARGE`.",
    )
    max_held_bytes: int = Field(
        20_000_000,
        ge=1000,
        description="Maximum size, in bytes, of the responses of one viewer that the client has not read yet, over all "
        "connections to a process. Beyond it, further responses are dropped with `RATE_LIMITED`.",
    )
    cost_per_minute: int = Field(
        1_000_000,
        ge=0,
        description="Maximum total cost of a viewer's operations per minute. Anonymous callers are counted by IP "
        "address. 0 switches the limit off.",
    )
    max_account_rows: int = Field(
        100_000,
        ge=0,
        description="Maximum number of tasks, categories, clients and contacts that an account stores in total, "
        "deleted ones included. A mutation that adds more fails with `QUOTA_EXCEEDED`. 0 switches the limit off.",
    )
    max_account_bytes: int = Field(
        100_000_000,
        ge=0,
        description="Maximum size of the texts of these rows, in bytes. 0 switches the limit off.",
    )
