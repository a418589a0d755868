"""Arm's Ethos-U family: sizes, and which of Vela's systems and memory modes go with which; Vela takes any pair."""

MACS = {"ethos-u55": (32, 64, 128, 256), "ethos-u65": (256, 512), "ethos-u85": (128, 256, 512, 1024, 2048)}
READ_ONLY = ("Shared_Sram", "Sram_Only")
WRITABLE = (
    *READ_ONLY,
    "Dedicated_Sram",
    "Dedicated_Sram_256KB",
    "Dedicated_Sram_384KB",
    "Dedicated_Sram_512KB",
)
# A system's clock and memories: a flash takes no maps, so that all of those must fit into SRAM.
SYSTEMS = {
    "Ethos_U55_High_End_Embedded": READ_ONLY,
    "Ethos_U55_Deep_Embedded": READ_ONLY,
    "Ethos_U65_Embedded": READ_ONLY,
    "Ethos_U65_Mid_End": WRITABLE,
    "Ethos_U65_High_End": WRITABLE,
    "Ethos_U65_Client_Server": WRITABLE,
    "Ethos_U85_SYS_Flash_High": READ_ONLY,
    "Ethos_U85_SYS_Flash_Low": READ_ONLY,
    "Ethos_U85_SYS_DRAM_High": WRITABLE,
    "Ethos_U85_SYS_DRAM_Mid": WRITABLE,
    "Ethos_U85_SYS_DRAM_Low": WRITABLE,
}
ACCELERATORS = tuple(f"{family}-{macs}" for family, sizes in MACS.items() for macs in sizes)


def systems_of(accelerator: str) -> list[str]:
    """The systems that have such an accelerator."""
    family = accelerator.rpartition("-")[0].removeprefix("ethos-").upper()
    return [system for system in SYSTEMS if system.startswith(f"Ethos_{family}_")]
