"""Sliding windows and their padding, against plain counting."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekd.backends.tflite.graph import Node
from edgekd.backends.tflite.padding import NO_PADS, Window, read_window, rounded_up

sides = st.integers(1, 12)
steps = st.integers(1, 3)


def window(
    node_attributes: dict[str, object], size: tuple[int, int] = (7, 8), kernel: tuple[int, int] = (3, 2)
) -> Window:
    return read_window(Node("Conv", "conv", ["x"], "y", dict(node_attributes)), size, kernel)


def test_a_window_is_read_from_its_attributes() -> None:
    assert window({}) == Window((3, 2), (1, 1), (1, 1), NO_PADS)
    asked = window({"strides": [2, 3], "dilations": [4, 5], "pads": [1, 2, 3, 4]})
    assert asked == Window((3, 2), (2, 3), (4, 5), ((1, 3), (2, 4)))  # top and bottom, left and right
    assert asked.extent == (9, 6)
    assert window({"auto_pad": b"VALID", "pads": [1, 2, 3, 4]}).pads == NO_PADS
    assert window({"auto_pad": b"NOTSET", "pads": [1, 0, 0, 0]}).pads == ((1, 0), (0, 0))


@given(sides, sides, steps, st.integers(1, 4), steps)
def test_same_padding_makes_as_many_windows_as_strides_fit(
    height: int, width: int, stride: int, kernel: int, dilation: int
) -> None:
    attributes = {"strides": [stride] * 2, "dilations": [dilation] * 2}
    upper, lower = (
        window({**attributes, "auto_pad": mode}, (height, width), (kernel, kernel))
        for mode in (b"SAME_UPPER", b"SAME_LOWER")
    )
    reach = (kernel - 1) * dilation + 1
    for size, (before, after), mirrored in zip((height, width), upper.pads, lower.pads, strict=True):
        needed = max(0, (ceil(size / stride) - 1) * stride + reach - size)
        assert before + after == needed
        assert 0 <= after - before <= 1
        assert mirrored == (after, before)
    assert upper.is_same((height, width))
    assert lower.is_same((height, width)) == (lower.pads == upper.pads)


@pytest.mark.parametrize(("size", "stride", "pads"), [((5, 5), 2, (1, 1)), ((6, 6), 2, (0, 1)), ((4, 4), 3, (1, 1))])
def test_same_is_what_tflite_pads(size: tuple[int, int], stride: int, pads: tuple[int, int]) -> None:
    same = Window((3, 3), (stride, stride), (1, 1), (pads, pads))
    assert same.is_same(size)
    assert not Window((3, 3), (stride, stride), (1, 1), (pads, pads[::-1] if pads[0] != pads[1] else (0, 0))).is_same(
        size
    )
    assert not Window((3, 3), (stride, stride), (1, 1), (pads, (pads[0], pads[1] + 1))).is_same(size)


@given(sides, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2))
def test_a_result_that_was_rounded_up_has_its_last_window_padded(
    size: int, kernel: int, stride: int, before: int, after: int
) -> None:
    made = ceil(max(size + before + after - kernel, 0) / stride) + 1
    plain = Window((kernel, 1), (stride, 1), (1, 1), ((before, after), (0, 0)))
    (first, last), other = rounded_up(plain, (size, 4), (made, 4)).pads
    assert (first, other) == (before, (0, 0))
    assert last == max(after, (made - 1) * stride + kernel - size - before)
    assert size + first + last >= (made - 1) * stride + kernel
