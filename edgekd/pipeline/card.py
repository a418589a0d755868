"""A run's proven bundles as a folder to publish, with a card whose every number `replay` derives again."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

from edgekd.backends.compiled import Precision
from edgekd.backends.replaced_folder import replaced_folder
from edgekd.bundle import Manifest, load_bundle
from edgekd.data.npz import map_npz
from edgekd.errors import BadInputError
from edgekd.files import write_bytes, write_json
from edgekd.measure.results import read_rows, write_rows
from edgekd.pipeline.deploy import bundle_name
from edgekd.pipeline.timing import RESULTS
from edgekd.reading import read_json
from edgekd.reporting import RUN
from edgekd.reporting.card import CARD, Card, card_text, executed
from edgekd.reporting.run_record import RunRecord, read_run

README, TEST = "README.md", "test.npz"
PRECISIONS = get_args(Precision)


def write_card(run: Path, out: Path, card: Card, data: Path | None = None) -> Path:
    """Write the folder: bundles that a device ran and proved, run.json, results.jsonl, test data if given, README.md.

    Devices are named by their transport alone. Raises BadInputError where nothing was proven, or `out` holds anything.
    """
    record = _public(read_run(run / RUN))
    names = _proven(record)
    if not names:
        raise BadInputError(f"{run}: no device has proven a bundle of it: there is nothing to publish")
    bundles = {name: load_bundle(run / "bundles" / name) for name in names}
    with replaced_folder(out) as folder:
        for name in names:
            shutil.copytree(run / "bundles" / name, folder / "bundles" / name)
        write_json(folder / RUN, record.document())
        write_json(folder / CARD, card.model_dump(mode="json"))
        write_rows(folder / RESULTS, read_rows(run / RESULTS) if (run / RESULTS).is_file() else ())
        if data is not None:
            map_npz(data)
            shutil.copy(data, folder / TEST)
        write_bytes(folder / README, card_text(card, record, bundles).encode())
    return out


def _public(run: RunRecord) -> RunRecord:
    """The record without where devices are, without what nothing here vouches for, without what has no bundle.

    That is what an option of a runtime makes of the float one, such as bf16.
    """
    targets = {
        name: target.model_copy(
            update={
                "device": target.device and target.device.partition(":")[0] + ":",
                "variants": {label: found for label, found in target.variants.items() if label in PRECISIONS},
            }
        )
        for name, target in run.targets.items()
    }
    return run.model_copy(update={"targets": targets, "stages": ()})


def _proven(run: RunRecord) -> list[str]:
    """Folders of bundles that some variant of an executed target is."""
    found = [
        Path(bundle_name(name, label)).name
        for name, target in executed(run)
        for label, variant in target.variants.items()
        if not variant.broken
    ]
    return sorted(set(found))


def read_card(folder: Path) -> tuple[Card, RunRecord]:
    """The two documents of a card's folder; BadInputError for another folder."""
    if not (folder / CARD).is_file():
        raise BadInputError(f"{folder}: no card (there is no {CARD})", hint="edgekd card RUN --out FOLDER")
    return Card.parse(read_json(folder / CARD), str(folder / CARD)), read_run(folder / RUN)


def text_of(folder: Path, card: Card, run: RunRecord, bundles: Mapping[str, Manifest]) -> bool:
    """Whether the folder's README is the one that its documents make."""
    return (folder / README).read_bytes() == card_text(card, run, bundles).encode()
