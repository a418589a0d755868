"""U-Net: sizes, and that each pixel's logits come from around it."""

import torch

from edgekd.students.unet import build


def test_each_pixel_gets_logits():
    assert build(classes=11, channels=1, width=4)(torch.zeros(2, 1, 64, 32)).shape == (2, 11, 64, 32)


def test_sizes_are_those_of_the_recipe():
    """The teacher has sixteen times the student's weights: four times the width, squared."""
    teacher, student = (sum(p.numel() for p in build(11, 1, width).parameters()) for width in (16, 4))
    assert 400_000 < teacher < 600_000
    assert 12 < teacher / student < 16.5


def test_what_is_far_away_does_not_matter_and_what_is_near_does():
    torch.manual_seed(0)
    model = build(classes=3, channels=1, width=4).eval()
    x = torch.randn(1, 1, 128, 128)
    far, near = x.clone(), x.clone()
    far[..., :8, :8] += 1
    near[..., 100:104, 100:104] += 1
    with torch.no_grad():
        plain = model(x)[..., 102, 102]
        assert torch.equal(model(far)[..., 102, 102], plain)
        assert not torch.equal(model(near)[..., 102, 102], plain)
