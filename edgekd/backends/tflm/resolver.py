"""Which kernels a firmware registers for a model."""

from edgekd.backends.tflite.ops import Op

ODD_METHODS = {"BATCH_MATMUL": "BatchMatMul", "CUMSUM": "CumSum", "PADV2": "PadV2"}


def resolver_methods(ops: list[Op]) -> list[str]:
    """The methods of `MicroMutableOpResolver` that register the ops, each once."""
    return [f"Add{ODD_METHODS.get(code) or _camel(code)}" for code in sorted({op.code for op in ops})]


def _camel(code: str) -> str:
    return "".join(part if part[0].isdigit() else part.capitalize() for part in code.split("_"))
