"""What this machine's CPU can do, for tests of what runtimes compute on it."""

import platform

from edgekd.runner.machine import cpu_flags, saturates

# Where it is x86 without VNNI, OpenVINO computes the layers of an int8 bundle in float.
INT8_ON_OPENVINO = not saturates({"precision": "int8", "scheme": "int8-asymmetric"}, platform.machine(), cpu_flags())


def int8_kernels(target: str, layers: int) -> int:
    """How many of an int8 bundle's layers are kernels in int8 here."""
    return layers if INT8_ON_OPENVINO or "openvino" not in target else 0
