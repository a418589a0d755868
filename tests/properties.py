"""How Hypothesis draws: the same examples in every run of the tests, new ones where it explores (`make explore`)."""

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers

COMMON: dict[str, Any] = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}  # no clock decides


def register() -> None:
    """Register the profiles `edgekd`, which is loaded, and `explore`: EDGEKD_EXAMPLES for each property."""
    settings.register_profile("edgekd", derandomize=True, **COMMON)
    examples = int(os.environ.get("EDGEKD_EXAMPLES", "1000"))
    settings.register_profile("explore", max_examples=examples, print_blob=True, **COMMON)
    settings.load_profile("edgekd")
    _repeat_examples()


def few(count: int, **more: Any) -> settings:
    """Return settings where one example costs much: `count` of them, and in proportion where it explores."""
    return settings(max_examples=max(1, count * settings.default.max_examples // 100), **more)


def _repeat_examples() -> None:
    """Hypothesis draws constants of the project's modules that are imported by then: derandomized tests take none."""
    of_imported, none = providers._get_local_constants, providers._local_constants
    providers._get_local_constants = lambda: none if settings.default.derandomize else of_imported()
