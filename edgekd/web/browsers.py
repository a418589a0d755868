"""Browsers that are started here, headless and in a folder of their own, as CI does it."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

QUIET = (  # a new Firefox would call home, and open a page of its own in front of ours
    "app.normandy.enabled",
    "app.update.enabled",
    "browser.safebrowsing.downloads.enabled",
    "browser.safebrowsing.malware.enabled",
    "browser.safebrowsing.phishing.enabled",
    "browser.shell.checkDefaultBrowser",
    "datareporting.healthreport.uploadEnabled",
    "datareporting.policy.dataSubmissionEnabled",
    "extensions.getAddons.cache.enabled",
    "extensions.update.enabled",
    "network.captive-portal-service.enabled",
    "network.connectivity-service.enabled",
    "toolkit.telemetry.enabled",
    "toolkit.telemetry.unified",
)
WEBGPU_IN_SOFTWARE = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan")


@dataclass(frozen=True)
class Browser:
    """How a browser is called: its programs, the first that is there; its options, with `{profile}`; how to get it.

    `settings` are files of a new profile, by name.
    """

    programs: tuple[str, ...]
    options: tuple[str, ...]
    get: str
    webgpu: tuple[str, ...] = ()
    as_root: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str | None:
        """Where it is; None where it is not."""
        return next(filter(None, map(shutil.which, self.programs)), None)

    def arguments(self, profile: Path, accelerator: str) -> Sequence[str]:
        """Its options, for a profile that is made new; the sandbox is left out for root alone, who can have none."""
        profile.mkdir()
        for name, text in self.settings.items():
            (profile / name).write_text(text, encoding="utf-8")
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
        settings={"user.js": "".join(f'user_pref("{name}", false);\n' for name in QUIET)},
    ),
}
