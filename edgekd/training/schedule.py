"""The learning rate as a pure function of the step."""

import math

from edgekd.recipe import ScheduleName

# Of the one-cycle policy: the share of steps that its triangle takes, and where it begins and finally ends.
TRIANGLE, BEGIN, END = 0.9, 1 / 10, 1 / 1000


def learning_rate(step: int, total_steps: int, peak: float, warmup: float, schedule: ScheduleName = "cosine") -> float:
    """The rate of step number `step`, in (0, peak].

    Linear warm-up over the first `warmup` (a fraction of all steps), then a cosine (arXiv:1608.03983) or a line to 0,
    or the constant peak. `one-cycle` (arXiv:1708.07120) has a warm-up of its own: up and down a triangle, then lower.
    """
    if schedule == "one-cycle":
        return peak * _one_cycle((step + 1) / (total_steps + 1))
    rising = warmup * total_steps
    if step < rising:
        return peak * (step + 1) / (math.ceil(rising) + 1)
    done = (step - rising) / max(1.0, total_steps - rising)
    match schedule:
        case "cosine":
            return peak / 2 * (1 + math.cos(math.pi * done))
        case "linear":
            return peak * (1 - done)
        case "constant":
            return peak


def _one_cycle(progress: float) -> float:
    """From BEGIN to 1 and back within the TRIANGLE, the rest from BEGIN to END; all linear."""
    if progress < TRIANGLE:
        height = 1 - abs(2 * progress / TRIANGLE - 1)
        return BEGIN + (1 - BEGIN) * height
    return BEGIN + (END - BEGIN) * (progress - TRIANGLE) / (1 - TRIANGLE)
