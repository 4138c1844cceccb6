"""Caches that share a budget in bytes."""

import gc
import weakref

from repositories.core.byte_budget import CLIENT_CACHES, ENTRY_SIZE, BoundedCache, ByteBudget, bounded_cache
from tests.caches import empty_caches


def budget_of(entries: int, size: int) -> ByteBudget:
    """A budget for a number of entries of one size. With eight, an entry has the greatest size that is cached."""
    return ByteBudget(entries * (ENTRY_SIZE + size))


def test_the_least_recently_used_entry_of_all_caches_is_evicted() -> None:
    budget = budget_of(8, 100)
    first, second = BoundedCache[str, int](budget), BoundedCache[str, int](budget)
    for number in range(4):
        first.put(f"a{number}", number, 100)
        second.put(f"b{number}", number, 100)
    assert budget.used == budget.size
    assert (first.get("a0"), second.get("b0")) == (0, 0)
    second.put("b4", 4, 100)
    first.put("a4", 4, 100)
    assert (first.get("a1"), second.get("b1")) == (None, None)
    assert (len(first), len(second), budget.used) == (4, 4, budget.size)


def test_a_value_can_be_replaced_and_removed() -> None:
    budget = budget_of(8, 100)
    cache = BoundedCache[str, int](budget)
    assert cache.put("a", 1, 100) == 1
    assert cache.put("a", 2, 50) == 2
    assert (len(cache), budget.used) == (1, ENTRY_SIZE + 50)
    assert (cache.pop("a"), cache.pop("a"), budget.used) == (2, None, 0)


def test_an_entry_larger_than_an_eighth_is_not_cached() -> None:
    budget = budget_of(8, 100)
    cache = BoundedCache[str, str](budget)
    assert cache.put("large", "value", 101) == "value"
    assert (cache.get("large"), budget.used) == (None, 0)


def test_an_entry_that_grows_evicts_others_and_then_itself() -> None:
    budget = budget_of(8, 100)
    cache = BoundedCache[int, int](budget)
    for number in range(8):
        cache.put(number, number, 0)
    grow = cache.growth_of(7)
    grow(100)
    assert (len(cache), budget.used) == (8, 8 * ENTRY_SIZE + 100)
    grow(1)
    assert (cache.get(7), len(cache), budget.used) == (None, 7, 7 * ENTRY_SIZE)
    grow(1)
    assert budget.used == 7 * ENTRY_SIZE


def test_a_smaller_budget_evicts() -> None:
    budget = budget_of(16, 0)
    cache = BoundedCache[int, int](budget)
    for number in range(16):
        cache.put(number, number, 0)
    budget.resize(8 * ENTRY_SIZE)
    assert [cache.get(number) for number in (0, 7, 8, 15)] == [None, None, 8, 15]
    assert budget.used == budget.size


def test_a_cache_inside_an_evicted_value_is_emptied() -> None:
    """So the plans of a document are evicted with it, although they were used later."""
    budget = budget_of(8, 0)
    documents = BoundedCache[str, BoundedCache[str, str]](budget)
    plans = documents.put("document", BoundedCache[str, str](budget), 0)
    for number in range(3):
        plans.put(f"plan {number}", "", 0)
    grow = plans.growth_of("plan 0")
    assert (len(budget.order), budget.used) == (4, 4 * ENTRY_SIZE)
    documents.pop("document")
    assert (len(budget.order), budget.used) == (3, 3 * ENTRY_SIZE)
    del plans
    budget.evict()
    assert (len(budget.order), budget.used) == (0, 0)
    grow(100)
    assert budget.used == 0


def test_results_of_a_function_are_cached_by_its_arguments() -> None:
    calls: list[tuple[str, bool]] = []

    @bounded_cache(len)
    def repeat(text: str, *, twice: bool = False) -> str | None:
        calls.append((text, twice))
        return text * (1 + twice) or None

    empty_caches()
    assert [repeat("a"), repeat("a"), repeat("a", twice=True), repeat("a", twice=True)] == ["a", "a", "aa", "aa"]
    assert calls == [("a", False), ("a", True)]
    assert CLIENT_CACHES.used > 2 * ENTRY_SIZE
    assert [repeat(""), repeat("")] == [None, None]
    assert len(calls) == 4
    empty_caches()
    assert (CLIENT_CACHES.used, repeat("a"), len(calls)) == (0, "a", 5)


class _Cyclic:
    def __init__(self) -> None:
        self.itself = self


def test_evicted_values_with_cycles_are_freed() -> None:
    """Without automatic collections: evictions of more than an eighth of the budget collect garbage."""
    cache = BoundedCache[int, _Cyclic](budget_of(8, 100))
    gc.disable()
    try:
        values = [weakref.ref(cache.put(number, _Cyclic(), 100)) for number in range(8)]
        cache.put(8, _Cyclic(), 100)
        assert values[0]() is not None
        cache.put(9, _Cyclic(), 100)
    finally:
        gc.enable()
    assert [value() is None for value in values] == [True, True, *[False] * 6]
