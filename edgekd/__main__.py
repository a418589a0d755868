"""`python -m edgekd`, which launchers of several processes start by its module."""

from edgekd.cli import app

app(prog_name="edgekd")
