"""A browser as a device: a page that runs bundles by onnxruntime-web or LiteRT.js, and answers in a runner's words.

`web:` waits for whatever browser opens its link, `web:lan` for one in the local network, a phone's too; `web:chromium`
and `web:firefox` start that one here, headless, `web:headless` the first of them that is here. All take
`?accelerator=webgpu` and `?wait=SECONDS`.
"""

import io
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from edgekd.devices.local import LocalDevice
from edgekd.devices.transport import Finished, Found
from edgekd.errors import BadInputError, DeviceError, MissingRuntimeError
from edgekd.runner.cli import parse_arguments, records_to
from edgekd.runner.errors import EXIT_CODES, RunnerError
from edgekd.web.browsers import BROWSERS, Browser
from edgekd.web.door import PAGE, Door
from edgekd.web.invitation import invite
from edgekd.web.job import NOT_TOLD, BrowserJob, BrowserRuntime, Page
from edgekd.web.messages import Hello
from edgekd.web.runtimes import INSTALL, find_web, web_backends

HEADLESS = ("headless", *BROWSERS)  # places where a browser is started here
FORM = f"web:, web:lan, {' or '.join(f'web:{place}' for place in HEADLESS)}"
ADDRESS = re.compile(r"web:(?P<place>[a-z]*)(\?(?P<query>[\w=&.]+))?")
LONGEST = 30 * 24 * 3600.0  # seconds that a browser which was started here may live
WAIT = {"": 300.0, "lan": 300.0}  # seconds for somebody to open the link
START = 90.0  # seconds for a browser that was started here
WORKER = "worker.js"
NO_SHELL = 127


class WebDevice(LocalDevice):
    """A page, and the folder here that what it needs and gives passes through.

    A browser that was started here runs on this machine, whose shell answers for it; of any other nothing is known but
    what its page tells.
    """

    def __init__(self, uri: str, place: str, accelerator: str, wait: float) -> None:
        self._accelerator, self._wait = accelerator, wait
        self._started, self._ended = False, ""
        self._program = str((PAGE / WORKER).resolve())
        self._browser = browser_at(place) if place in HEADLESS else None
        super().__init__(uri, runner=PAGE / WORKER)
        try:
            self._door = Door(lan=place == "lan")
            if self._browser is None:
                invite(self._door.url, lan=place == "lan", seconds=wait)
        except BaseException:
            super().close()
            raise

    def run(self, argv: Sequence[str], timeout: float) -> Finished:
        """A verb of the runner's in the page; anything else where the browser was started, or nowhere."""
        if argv[0] == self._program:
            return self._answer(argv[1:], timeout)
        if self._browser:
            return super().run(argv, timeout)
        return Finished(NO_SHELL, "", f"{self.uri}: a browser has no shell")

    def facts(self) -> Mapping[str, object] | None:
        """What the page tells of its machine; None where the shell tells more."""
        return None if self._browser else machine_of(self._page().hello)

    def close(self) -> None:
        """End the listener, then the browser."""
        try:
            self._door.close()
        finally:
            super().close()

    def _start(self, browser: Browser) -> None:
        options = browser.arguments(Path(self.workspace, "profile"), self._accelerator)
        argv = [str(browser.program), *options, self._door.url]
        threading.Thread(target=self._drive, args=(argv,), daemon=True).start()

    def _drive(self, argv: Sequence[str]) -> None:
        """The browser's whole life; it ends with the device's."""
        try:
            done = super().run(argv, LONGEST)
            said = [line for line in done.stderr.splitlines() if line.strip()]
            self._ended = ": ".join((f"{self.uri}: the browser ended (exit code {done.code})", *said[-1:]))
        except DeviceError as error:
            self._ended = str(error)

    def _page(self, seconds: float = LONGEST) -> Page:
        """The page; a browser is started once it has something to do."""
        if self._browser and not self._started:
            self._started = True
            self._start(self._browser)
        return Page(self._door, self._wait, seconds, lambda: self._ended)

    def _answer(self, argv: Sequence[str], timeout: float) -> Finished:
        stream = io.StringIO()
        emit = records_to(stream)
        try:
            self._perform(argv, emit, timeout)
        except RunnerError as error:
            emit("end", ok=False, error=str(error), kind=error.kind)
            return Finished(EXIT_CODES[error.kind], stream.getvalue(), "")
        emit("end", ok=True)
        return Finished(0, stream.getvalue(), "")

    def _perform(self, argv: Sequence[str], emit: Callable[..., None], timeout: float) -> None:
        if list(argv) == ["--version"]:
            for version in _versions():
                emit("version", **version)
            return
        job = BrowserJob(parse_arguments(argv), emit, self._page(timeout), {"accelerator": self._accelerator})
        if not job.run():
            raise RunnerError("mismatch", "outputs differ from the reference beyond the tolerance")


def _versions() -> Iterator[dict[str, str | None]]:
    for backend in web_backends():
        web = find_web(backend)
        version, get = (web.version, "") if web.installed else (None, INSTALL)
        yield {"runtime": web.title, "runtime_version": version, "backend": backend, "get": get}


def browser_at(place: str) -> Browser:
    """The browser of a place here; MissingRuntimeError where it is not installed."""
    wanted = [BROWSERS[place]] if place in BROWSERS else list(BROWSERS.values())
    found = next((browser for browser in wanted if browser.program), None)
    if found is None:
        names = " and no ".join(browser.programs[0] for browser in wanted)
        raise MissingRuntimeError(f"no {names} on the PATH: {wanted[0].get}")
    return found


def machine_of(hello: Hello) -> Mapping[str, object]:
    """Fields of `measure.facts.Machine`, as far as a page knows them."""
    absent = ("python", "governor", "frequency_mhz", "max_frequency_mhz", "gpu_driver")
    optional = {"memory_mb": hello.memory_gib and round(hello.memory_gib * 2**30 / 1e6), "gpu": hello.gpu}
    missing = [*absent, *(name for name, value in optional.items() if value is None)]
    return {
        "cpu": f"{browser_of(hello.agent)} on {hello.platform}", "arch": "wasm", "cores": hello.cores, "flags": (),
        "kernel": hello.platform, "missing": dict.fromkeys(missing, NOT_TOLD), **dict.fromkeys(absent), **optional,
    }  # fmt: skip


def browser_of(agent: str) -> str:
    """A browser's name and version, from what it calls itself."""
    for name, shown in (("Firefox", "Firefox"), ("Edg", "Edge"), ("OPR", "Opera"), ("Chrome", "Chrome")):
        if found := re.search(rf"\b{name}\w*/(\d+)", agent):
            return f"{shown} {found[1]}"
    found = re.search(r"\bVersion/(\d+)[\d.]* .*Safari", agent)
    return f"Safari {found[1]}" if found else "a browser"


def open_device(uri: str) -> WebDevice:
    """Listen, and start the browser or show the link; BadInputError for another form, DeviceError without a browser."""
    found = ADDRESS.fullmatch(uri)
    place, query = found.group("place", "query") if found else (None, None)
    settings = dict(pair.partition("=")[::2] for pair in query.split("&")) if query else {}
    accelerators = BrowserRuntime.OPTIONS["accelerator"] or ()
    accelerator, wait = settings.pop("accelerator", accelerators[0]), settings.pop("wait", "")
    known = place in ("", "lan", *HEADLESS) and accelerator in accelerators and not settings
    if place is None or not known or not re.fullmatch(r"(\d{1,5}(\.\d+)?)?", wait):
        raise BadInputError(f"device {uri!r}: expected {FORM}; with ?accelerator=webgpu or ?wait=SECONDS")
    return WebDevice(uri, place, accelerator, float(wait or WAIT.get(place, START)))


def discover() -> list[Found]:
    """Any browser, and those that can be started here."""
    ready = any(find_web(backend).installed for backend in web_backends())
    state = "ready" if ready else f"no runtime yet: {INSTALL}"
    here = [Found(f"web:{name}", state, str(found.program)) for name, found in BROWSERS.items() if found.program]
    return [Found("web:", state, "whatever browser opens its link"), *here]
