"""The few cases that stand for all."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from tests.ops.cases import (
    Case,
    covering,
)


@pytest.mark.parametrize("strength", [1, 2, 3])
def test_a_covering_has_every_combination_and_nothing_impossible(strength: int) -> None:
    factors = {"a": (0, 1, 2), "b": "xyz", "c": (False, True), "d": (False, True), "e": (False, True)}

    def possible(case: Case) -> bool:
        return (case.get("a"), case.get("b")) != (0, "x")

    cases = covering(strength, factors, possible=possible)
    assert all(possible(case) and case.keys() == factors.keys() for case in cases)
    assert len(cases) < 72
    for names in combinations(factors, strength):
        found = {tuple(case[name] for name in names) for case in cases}
        wanted = set(product(*(factors[name] for name in names)))
        assert found == {values for values in wanted if possible(dict(zip(names, values, strict=True)))}
