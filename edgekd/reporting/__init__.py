"""The report of a run: one self-contained HTML page, and tables for the terminal."""

RUN, REPORT = "run.json", "report.html"
