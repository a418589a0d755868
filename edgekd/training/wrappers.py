"""Networks without what torch wraps around them."""

from accelerate.utils import extract_model_from_parallel
from torch import nn


def bare(model: nn.Module) -> nn.Module:
    """Return the network under DataParallel, DistributedDataParallel, torch.compile and accelerate."""
    plain: nn.Module = extract_model_from_parallel(model, keep_torch_compile=False)
    return plain
