"""The parts of the runner that leaves with a bundle: CPython 3.8, the standard library and numpy.

`edgekd.runner_source` makes one file of them and of one backend's `runtime.py`. The host imports them as they are.
"""
