"""Browsers that are started here, headless and in a folder of their own, as CI does it."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

WEBGPU_IN_SOFTWARE = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


@dataclass(frozen=True)
class Browser:
    """How a browser is called: its programs, the first that is there; its options, with `{profile}`; how to get it."""

    programs: tuple[str, ...]
    options: tuple[str, ...]
    get: str
    webgpu: tuple[str, ...] = ()
    as_root: tuple[str, ...] = ()

    @property
    def program(self) -> str | None:
        """Where it is; None where it is not."""
        return next(filter(None, map(shutil.which, self.programs)), None)

    def arguments(self, profile: str, accelerator: str) -> Sequence[str]:
        """Its options; the sandbox is only left out for root, for whom there is none."""
        root = self.as_root if os.geteuid() == 0 else ()
        webgpu = self.webgpu if accelerator == "webgpu" else ()
        return [option.format(profile=profile) for option in (*self.options, *root, *webgpu)]


BROWSERS = {
    "chromium": Browser(
        programs=("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
        options=(
            *("--headless=new", "--no-first-run", "--no-default-browser-check", "--disable-dev-shm-usage"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-breakpad"),
            "--user-data-dir={profile}",
        ),
        get="apt-get install chromium",
        webgpu=WEBGPU_IN_SOFTWARE,
        as_root=("--no-sandbox",),
    ),
    "firefox": Browser(
        programs=("firefox-esr", "firefox"),
        options=("--headless", "--no-remote", "--profile", "{profile}"),
        get="apt-get install firefox-esr",
    ),
}
