"""What Ethos-U needs: Vela to compile, LiteRT to stand in for the NPU on the host."""

from dataclasses import replace

from edgekd.backends.ethos_u.accelerators import ACCELERATORS, SYSTEMS, WRITABLE
from edgekd.backends.tflite.needs import NEEDS as LITERT
from edgekd.needs import Component

NEEDS = replace(
    LITERT,
    title="Ethos-U",
    components=(Component("ethos-u-vela", "ethosu", "Arm Ethos-U bundles", "ethos-u"),),
    stand_in="run on the host by LiteRT, before Vela: no latency is claimed of an Ethos-U",
    on_board="`model_vela.tflite` is what TFLite-Micro on the device, or its Linux driver, loads; `placement.json` "
    "says what of it the NPU takes, and in how many cycles by Vela's estimate.",
    without_python=False,
    compiler={
        "accelerator": ACCELERATORS,
        "system_config": tuple(SYSTEMS),
        "memory_mode": WRITABLE,
        "allow_cpu": (False, True),
    },
)
