"""`python -m edgekd`, which launchers of several processes start by its module."""

import sys
from pathlib import Path

if __name__ == "__main__":
    if sys.path[0] == str(Path.cwd()):  # which Python puts there: a numpy.py in it would take numpy's place
        del sys.path[0]
    from edgekd.cli import app

    app(prog_name="edgekd")
