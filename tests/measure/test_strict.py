from edgekd.measure.strict import strict


def samples(milliseconds: float, count: int) -> list[float]:
    """A tenth of them is twice as slow."""
    return [milliseconds * (2 if number % 10 == 0 else 1) for number in range(count)]


def test_the_rules_of_mlperf_mobile_are_kept_or_named() -> None:
    kept = strict([samples(50, 1100), samples(51, 1100)])
    assert (kept.p90, kept.broken) == (102, ())
    assert kept.p90_bound == 102
    assert strict([samples(50, 1100)] * 3).replicated == 1
    broken = strict([samples(50, 1000), samples(40, 1100)]).broken
    assert broken == (
        "1000 inferences, fewer than 1024", "48.4 s of inferences, less than 60",
        "replicates 25.0 % apart, more than 5",
    )  # fmt: skip
    assert strict([samples(50, 1100)]).broken == ("1 replicate, not 2",)
