"""Whether a target has the memory that a model was found to take."""

from edgekd.errors import BadInputError
from edgekd.target import Target


def require_room(target: Target, arena: int, flash: int, arena_is: str = "an arena") -> None:
    """Raise BadInputError for a model that takes more bytes than the target's limits allow."""
    limits = target.limits
    for kind, size, limit in (
        (arena_is, arena, limits.memory_mb and 1e6 * limits.memory_mb),
        ("flash", flash, limits.model_kb and 1e3 * limits.model_kb),
    ):
        if limit and size > limit:
            raise BadInputError(
                f"it needs {kind} of {size:,} bytes, {target.name} has {limit:,.0f}: "
                "choose a smaller student, or a target file with other limits"
            )
