"""Ids of rows."""

from uuid import UUID

from repositories.core.ids import new_id


def test_ids_are_unique_and_sorted_by_creation_time() -> None:
    ids = [new_id() for _ in range(1000)]
    assert ids == sorted(set(ids))
    assert {(isinstance(key, UUID), key.version, key.variant) for key in ids} == {(True, 7, "specified in RFC 4122")}
