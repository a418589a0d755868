"""Bundles in real browsers that are started here: answers are the host's bit for bit, and nothing is left of them."""

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from edgekd import measure
from edgekd.devices import open_device
from edgekd.devices.web import WebDevice
from edgekd.measure import Session
from edgekd.web.browsers import BROWSERS
from edgekd.web.runtimes import find_web, web_backends
from tests.devices.processes import eventually, mentioned
from tests.measure.bundles import MakeBundle, bundle, golden
from tests.missing import miss

__all__ = ["bundle"]
pytestmark = pytest.mark.browser
KINDS = {"chromium": "browser", "firefox": "firefox"}  # of what is missing


def need(browser: str) -> None:
    if BROWSERS[browser].program is None:
        miss(KINDS[browser], f"no {browser} on the PATH")
    if not all(find_web(name).installed for name in web_backends()):
        miss("web", "no runtime for browsers")


@pytest.fixture(scope="module", params=BROWSERS)
def browser(request: pytest.FixtureRequest) -> Iterator[WebDevice]:
    """One for all tests; when it is closed neither it nor its listener is left."""
    need(request.param)
    device = open_device(f"web:{request.param}")
    assert isinstance(device, WebDevice)
    yield device
    link = urlsplit(device._door.url)
    device.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((str(link.hostname), int(link.port or 0)), 5)
    assert eventually(lambda: not mentioned(device.workspace))


@pytest.mark.parametrize("backend", web_backends())
def test_int8_answers_are_the_host_s_bit_for_bit(browser: WebDevice, bundle: MakeBundle, backend: str) -> None:
    """Integers leave no room for another order of sums; the only float step is the last one, a scale."""
    folder = bundle(backend)
    inputs = {"input": golden(folder, "input:input")}
    there = measure.predict(browser, folder, inputs, batch=5)["logits"]
    with closing(open_device("local:")) as host:
        here = measure.predict(host, folder, inputs, batch=5)["logits"]
    assert np.array_equal(there, here)


def test_parity_and_times_are_records_like_any_other(browser: WebDevice, bundle: MakeBundle) -> None:
    session = Session(browser, bundle("tflite"))
    (verdict,) = session.verify()
    assert verdict.ok
    replicate = session.bench(seconds=0.05, count=20)
    assert (replicate.start.runtime, replicate.start.python) == ("LiteRT.js", None)
    assert len(replicate.timing.samples_ms) >= 20
    assert (replicate.timing.batch, replicate.timing.threads) == (1, 1)
    assert replicate.load.details["isolated"] == "yes"
    assert float(replicate.load.details["clock_step_us"]) <= 100  # isolated pages have 5 µs in Chromium, 20 in Firefox


SCRIPT = """
import pathlib, sys
from edgekd import measure
from edgekd.devices import open_device
device = open_device("web:headless")
print(device.workspace, flush=True)
measure.Session(device, pathlib.Path(sys.argv[1])).bench(seconds=600, count=1)
"""


def test_killing_what_started_a_browser_ends_it(bundle: MakeBundle) -> None:
    need("chromium")
    argv = [sys.executable, "-c", SCRIPT, str(bundle("onnxruntime"))]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workspace = process.stdout.readline().strip()
    assert eventually(lambda: mentioned(f"{workspace}/profile"))
    process.send_signal(signal.SIGKILL)
    process.wait(30)
    assert eventually(lambda: not mentioned(workspace))
    assert eventually(lambda: not Path(workspace).exists())
