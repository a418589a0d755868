"""The report in a real browser: it is parsed as meant, logs nothing, fits a phone and is not blank."""

import json
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekd.reporting.html import render
from edgekd.reporting.run_record import RunRecord
from tests.missing import miss

pytestmark = pytest.mark.browser

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)
SECTIONS = [
    "promises",
    "accuracy",
    "learning",
    "targets",
    "trade-off",
    "layers",
    "training",
    "parity",
    "not-executed",
    "provenance",
]
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
MEASURE = """<script>
const visible = [...document.querySelectorAll("svg")].filter((plot) => plot.getBoundingClientRect().width > 0);
const {scrollWidth, clientWidth} = document.documentElement;
parent.postMessage(`${scrollWidth} of ${clientWidth}, ${visible.length} plots`, "*");
</script></body>"""
FRAME = """<!doctype html><script>addEventListener("message", (told) => { document.title = told.data; });</script>
<iframe src="measured.html" style="width:WIDTHpx;height:2000px;border:0"></iframe>"""


@pytest.fixture(scope="module")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    return found or miss("browser", "no Chromium on the PATH")


@pytest.fixture
def report(tmp_path: Path, sample: str) -> Path:
    path = tmp_path / "report.html"
    path.write_text(sample, encoding="utf-8")
    return path


def browse(chromium: str, page: Path, *flags: str) -> tuple[str, list[str]]:
    """The browser's DOM and what the page's console said."""
    profile = f"--user-data-dir={page.parent / 'profile'}"
    done = subprocess.run(
        [chromium, *FLAGS, profile, *flags, page.as_uri()], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def screenshot(chromium: str, page: Path, size: str, *flags: str) -> np.ndarray:
    """Grey pixels, 0…1."""
    target = page.parent / "page.png"
    browse(chromium, page, f"--window-size={size}", f"--screenshot={target}", *flags)
    with Image.open(target) as image:
        return np.asarray(image.convert("L")) / 255


def test_the_dom_is_what_was_written_and_the_console_is_silent(chromium: str, report: Path) -> None:
    dom, console = browse(chromium, report, "--dump-dom")
    assert console == []
    assert re.findall(r'<section id="([^"]+)"', dom) == SECTIONS
    assert dom.count("<svg ") == 8


@pytest.mark.parametrize(("flag", "dark"), [("preferredColorScheme=1", False), ("preferredColorScheme=0", True)])
def test_the_page_is_not_blank_and_follows_the_theme(chromium: str, report: Path, flag: str, dark: bool) -> None:
    pixels = screenshot(chromium, report, "1280,1600", f"--blink-settings={flag}")
    paper = np.median(pixels)
    assert (paper < 0.2) == dark
    inked = np.abs(pixels - paper) > 0.3
    assert 0.01 < inked.mean() < 0.4  # words and plots, with white space around them
    assert all(part.any() for part in np.array_split(inked, 4))


AXE = """<script>AXE</script><script>
axe.run().then((found) => {
  const told = found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)]);
  document.title = "axe: " + JSON.stringify(told);
});
</script></body>"""


@pytest.mark.parametrize("flag", ["preferredColorScheme=1", "preferredColorScheme=0"], ids=["light", "dark"])
def test_axe_finds_nothing_that_some_reader_cannot_read(chromium: str, report: Path, flag: str) -> None:
    """Contrast, names, order, keyboard: all rules of axe-core, with all sections open."""
    package = find_spec("axe_playwright_python") or miss("data", "axe-core is not installed")
    axe = Path(package.origin).with_name("axe.min.js")
    script = AXE.replace("AXE", axe.read_text(encoding="utf-8").replace("</script", "<\\/script"))
    report.write_text(POLICY.sub("", report.read_text(encoding="utf-8")).replace("</body>", script), encoding="utf-8")
    dom, _ = browse(chromium, report, "--dump-dom", "--virtual-time-budget=60000", f"--blink-settings={flag}")
    assert re.search(r"<title>(.*?)</title>", dom).group(1) == "axe: []"


CHOOSE = """<script>
const told = [];
const shown = () => told.push([...document.querySelectorAll("#layer-table tbody th")]
  .filter((cell) => cell.getClientRects().length).map((cell) => cell.textContent));
const choose = (words) => [...document.querySelectorAll("#layer-table label")]
  .find((label) => label.textContent.trim().startsWith(words)).click();
shown();
for (const words of ["name", "Gemm", "all"]) { choose(words); shown(); }
document.title = "shown: " + JSON.stringify(told);
</script></body>"""


def test_layers_are_sorted_and_filtered_by_their_buttons(
    chromium: str, report: Path, run: dict[str, Any], tmp_path: Path
) -> None:
    """Of 30 layers the worst twelve; by name; those of one kind, wherever they stand; and again all kinds."""
    kinds = ["Conv"] * 29 + ["Gemm"]
    layers = [
        {"layer": f"layer.{n}", "kind": kind, "sqnr_db": 30.0, "lost_db": 9.0 - 0.1 * n}
        for n, kind in reversed(list(enumerate(kinds)))
    ]
    run["quantized"] = {"int8-asymmetric": run["quantized"]["int8-asymmetric"] | {"layers": layers}}
    text = POLICY.sub("", render(RunRecord.of(run), tmp_path)).replace("</body>", CHOOSE)
    report.write_text(text, encoding="utf-8")
    dom, _ = browse(chromium, report, "--dump-dom")
    worst, by_name, gemm, again = json.loads(re.search(r"<title>shown: (.*?)</title>", dom).group(1))
    assert worst == by_name == again == [f"layer.{n}" for n in range(12)]
    assert gemm == ["layer.29"]


@pytest.mark.parametrize("width", [390, 800, 1280])
def test_no_width_needs_sideways_scrolling(
    chromium: str, report: Path, tmp_path: Path, run: dict[str, Any], width: int
) -> None:
    """Not with the longest name of a built-in target either."""
    run["targets"]["raspberry-pi-5-onnxruntime"] = run["targets"].pop("x86-onnxruntime")
    text = POLICY.sub("", render(RunRecord.of(run), tmp_path)).replace("</body>", MEASURE)
    report.with_name("measured.html").write_text(text, encoding="utf-8")
    frame = report.with_name("phone.html")  # a window may not be as narrow as a phone, a frame may
    frame.write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    dom, _ = browse(chromium, frame, "--dump-dom", "--window-size=1400,2100")
    assert re.search(rf"<title>{width} of {width}, \d plots</title>", dom)
