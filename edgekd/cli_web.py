"""`web`: what browsers need to be devices."""

from typing import Annotated, Literal

import typer

from edgekd.cli_base import Json, command
from edgekd.reporting import last_line
from edgekd.terminal import show


@command(
    "Export and measure", "edgekd web install", "edgekd verify bundles/model-web-onnxruntime --device web:chromium"
)
def web(
    action: Annotated[
        Literal["install"], typer.Argument(help="`install`: get the runtimes' files, 60 MB, by your npm.")
    ],
    as_json: Json = False,
) -> None:
    """Get what runs bundles in a browser: pinned files from npm, kept in your cache folder."""
    from edgekd.web.install import install

    show(install(), as_json, last=last_line.of_web)
