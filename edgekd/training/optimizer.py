"""SGD with Nesterov momentum, or AdamW (arXiv:1711.05101), decaying only what multiplies inputs."""

import torch
from torch import nn

from edgekd.errors import BadInputError
from edgekd.recipe import Training


def build_optimizer(model: nn.Module, modules: nn.ModuleDict, settings: Training) -> torch.optim.Optimizer:
    """Vectors and scalars (biases, norms, learned scales) are not decayed: it would only shift them.

    Raises BadInputError where the model has nothing to train.
    """
    parameters = [parameter for parameter in (*model.parameters(), *modules.parameters()) if parameter.requires_grad]
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise BadInputError(
            "there is nothing to train: every parameter of the model is frozen; `requires_grad_()` lets it train"
        )
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if settings.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas)
    momentum = settings.momentum
    return torch.optim.SGD(groups, lr=settings.learning_rate, momentum=momentum, nesterov=momentum > 0)
