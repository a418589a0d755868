"""Networks that are prepared once: torch takes seconds to export one."""

import copy
from functools import cache

from torch import nn

from edgekd.quantization.qat import prepare
from edgekd.quantization.qat.tagged import Tags, tags_of
from edgekd.quantization.scheme import Scheme
from tests.quantization.nets import images, lively


def prepare_once(kind: type[nn.Module], scheme: Scheme) -> nn.Module:
    """A copy of the lively network of a kind, prepared."""
    return copy.deepcopy(_prepared(kind, scheme))


@cache
def _prepared(kind: type[nn.Module], scheme: Scheme) -> nn.Module:
    return prepare(lively(kind), scheme, images(2), tags=_tags(kind))


@cache
def _tags(kind: type[nn.Module]) -> Tags:
    """The same for all schemes."""
    return tags_of(lively(kind), images(2))
