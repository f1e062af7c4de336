"""Paired timing."""

from tools import benchmark


def test_pairs_are_timed_in_turn():
    calls = []
    found = benchmark.pair(lambda: calls.append("a"), lambda: calls.append("b"), 3)
    assert calls == ["a", "b"] * 4 and found["pairs"] == 3  # the first pair warms up
    assert found["ratio_min"] <= found["ratio"] <= found["ratio_max"]
