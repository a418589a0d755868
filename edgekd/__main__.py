"""The command line's first step, which `edgekd` and `python -m edgekd` share."""

import sys
from pathlib import Path

if __name__ == "__main__" and sys.path[0] == str(Path.cwd()):  # Python's doing: a numpy.py there would be numpy
    del sys.path[0]

from edgekd import confined


def main() -> None:
    """Run the command line; what reads foreign models runs in a process of its own."""
    if confined.wanted(sys.argv[1:]):
        sys.exit(confined.run(sys.argv[1:]))
    confined.confine()
    from edgekd.cli import app

    app(prog_name="edgekd")


if __name__ == "__main__":
    main()
