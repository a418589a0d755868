"""The command line: every command parses, calls one function and prints what it returned."""

from edgekd import cli_learn, cli_measure, cli_overview, cli_regression, cli_share, cli_web
from edgekd.cli_base import app

__all__ = ["app"]
COMMANDS = (cli_learn, cli_measure, cli_web, cli_overview, cli_regression, cli_share)  # in the order of the help

if __name__ == "__main__":
    app()
