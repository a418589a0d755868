"""timm's image classifiers, `timm:mobilenetv4_conv_small`: every name of `timm.list_models()`."""

from typing import Any

import timm
from safetensors.torch import load_file
from torch import nn

from edgekd.errors import BadInputError
from edgekd.model_libraries import cached_weights
from edgekd.plugins import nearest


def check(name: str) -> None:
    """Raise BadInputError for a name that timm does not have, with or without the tag of its weights."""
    if not timm.is_model(name) or ("." in name and name not in timm.list_pretrained()):
        known = timm.list_pretrained() if "." in name else timm.list_models()
        raise BadInputError(f"timm {timm.__version__} has no {name!r}{nearest(name, known, most=3)}")


def build(
    name: str, classes: int, input_shape: tuple[int, ...], *, pretrained: bool = False, **options: Any
) -> nn.Module:
    """The network for images (channels, height, width), with other options as `timm.create_model` takes them.

    `pretrained` weights come from the hub's cache on this machine; the first and last layer are adapted as timm does.
    """
    if len(input_shape) != 3:
        raise BadInputError(f"timm's networks take images (channels, height, width), the data has {input_shape}")
    channels, height, width = input_shape
    known = timm.get_pretrained_cfg(name)
    if known is not None and known.fixed_input_size:
        options = {"img_size": (height, width)} | options
    if pretrained:
        if known is None or not known.hf_hub_id:
            raise BadInputError(f"timm publishes no weights of {name!r}: leave `pretrained` out")
        options["pretrained_cfg_overlay"] = {"state_dict": load_file(cached_weights(known.hf_hub_id))}
    model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes, in_chans=channels, **options)
    return model
