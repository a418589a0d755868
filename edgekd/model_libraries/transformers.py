"""transformers' classifiers: `transformers:vit`, a type of model, or `transformers:google/vit-base-patch16-224`."""

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.auto import modeling_auto

from edgekd.data.dataset import PADDING
from edgekd.errors import BadInputError
from edgekd.model_libraries import cached_weights
from edgekd.plugins import nearest

IMAGES = modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
TOKENS = modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES


class OfTokens(nn.Module):
    """A classifier of token sequences (N, L) that looks away from padding."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, L) int64 to logits (N, classes)."""
        logits: Tensor = self.network(input_ids=tokens, attention_mask=(tokens != PADDING).to(torch.int64)).logits
        return logits


class OfImages(nn.Module):
    """A classifier of images (N, C, H, W), of whose outputs only the logits are left."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to logits (N, classes)."""
        logits: Tensor = self.network(pixel_values=images).logits
        return logits


def check(name: str) -> None:
    """Raise BadInputError for a type of model that there is not; names of the hub have a `/`."""
    if "/" not in name and name not in IMAGES and name not in TOKENS:
        raise BadInputError(
            f"transformers {transformers.__version__} has no classifier of type {name!r}"
            f"{nearest(name, {*IMAGES, *TOKENS}, most=3)}"
        )


def build(name: str, classes: int, input_shape: tuple[int, ...], **options: Any) -> nn.Module:
    """A classifier of images (channels, height, width) or of tokens (length,); options are its configuration's.

    A type of model starts at random, sized for the data; what the hub publishes comes from its cache on this machine.
    """
    if len(input_shape) not in (1, 3):
        raise BadInputError(f"transformers' networks take images or tokens, the data has {input_shape}")
    images = len(input_shape) == 3
    if "/" in name:
        cached_weights(name)
        auto = (
            transformers.AutoModelForImageClassification if images else transformers.AutoModelForSequenceClassification
        )
        network = auto.from_pretrained(
            name, num_labels=classes, ignore_mismatched_sizes=True, local_files_only=True, **options
        )
    else:
        network = _of_type(name, classes, input_shape, options)
    return OfImages(network) if images else OfTokens(network)


def _of_type(name: str, classes: int, input_shape: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    images = len(input_shape) == 3
    known = IMAGES if images else TOKENS
    if name not in known:
        kind = "images" if images else "token sequences"
        raise BadInputError(f"no classifier of {kind} is of type {name!r}{nearest(name, known, most=3)}")
    config = transformers.AutoConfig.for_model(
        name, num_labels=classes, **(_sizes(input_shape) if images else {}) | options
    )
    auto = transformers.AutoModelForImageClassification if images else transformers.AutoModelForSequenceClassification
    network: nn.Module = auto.from_config(config)
    return network


def _sizes(input_shape: tuple[int, ...]) -> dict[str, Any]:
    channels, height, width = input_shape
    return {"num_channels": channels, "image_size": height if height == width else (height, width)}
