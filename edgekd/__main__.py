"""`python -m edgekd`, which launchers of several processes start by its module."""

from edgekd.cli import app

if __name__ == "__main__":
    app(prog_name="edgekd")
