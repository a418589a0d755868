"""What ncnn needs."""

from edgekd.needs import Component, Needs, Way

NEEDS = Needs(
    title="ncnn",
    package="ncnn",
    modules=("ncnn",),
    ways=(
        Way("{pip} install ncnn", bits=64),
        Way("no wheel for a 32-bit Python: take a 64-bit system, or a target with TFLite"),
    ),
    components=(Component("ncnn", "ncnn", "ncnn bundles, run on this machine", "ncnn"),),
)
