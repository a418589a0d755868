"""The learning rate as a pure function of the step."""

import math


def learning_rate(step: int, total_steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up over the first `warmup` (a fraction of all steps), then a cosine to 0 (arXiv:1608.03983)."""
    rising = warmup * total_steps
    if step < rising:
        return peak * (step + 1) / (math.ceil(rising) + 1)
    return peak / 2 * (1 + math.cos(math.pi * (step - rising) / max(1.0, total_steps - rising)))
