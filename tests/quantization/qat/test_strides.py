"""Which change of strides moves no value: held against torch's own."""

from itertools import product

import pytest
import torch

from edgekd.quantization.qat.exporter import _keeps_order

STRIDES = (0, 1, 2, 3, 4, 6)


@pytest.mark.parametrize("shape", [(4,), (1,), (2, 3), (3, 1), (1, 3), (2, 1, 3), (2, 3, 2), (1, 1, 1), (2, 1, 1, 2)])
def test_a_view_is_kept_where_torch_sees_the_same(shape: tuple[int, ...]) -> None:
    """Of all views that lie within the tensor; where a dimension of one lies is of no account."""
    tensor, seen = torch.arange(float(torch.Size(shape).numel())).reshape(shape), 0
    for stride in product(STRIDES, repeat=len(shape)):
        if sum((size - 1) * step for size, step in zip(shape, stride, strict=True)) < tensor.numel():
            same = torch.equal(torch.as_strided(tensor, shape, stride), tensor)
            assert _keeps_order(shape, shape, stride) is same
            seen += same
    assert seen >= 1


@pytest.mark.parametrize(
    ("shape", "size", "stride", "kept"),
    [
        (("batch", 2, 3), ("batch", 2, 3), (6, 3, 1), True),
        (("batch", 2, 3), ("batch", 2, 3), (6, 1, 2), False),
        (("batch", 2, 3), ("batch", 2, 3), (3, 3, 1), False),
        (("batch",), ("batch",), (1,), True),
        (("batch",), ("batch",), (2,), False),
        (("batch", "length", 3), ("batch", "length", 3), (9, 3, 1), False),  # how far apart samples are is unknown
        (("batch", 2, 3), ("batch", 3, 2), (6, 2, 1), False),
        (("batch", 6), ("batch", 2, 3), (6, 3, 1), False),
        ((2, 3), (3,), (1,), False),
        ((4, 3), (4, 3), (3, 1), True),
        ((4, 3), (2, 3), (3, 1), False),
        (("batch", 3), (2, 3), (3, 1), False),
    ],
)
def test_the_first_size_alone_may_be_unknown(
    shape: tuple[str | int, ...], size: tuple[str | int, ...], stride: tuple[int, ...], kept: bool
) -> None:
    assert _keeps_order(shape, size, stride) is kept
