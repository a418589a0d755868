"""Bundles in a browser: the files of its runtimes, the server with the page, and the jobs that the page does.

`edgekd/devices/web.py` makes a device of it. What a backend needs there is its `web.py` and its `web.mjs`.
"""
