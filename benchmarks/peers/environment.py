"""What each peer makes of a student: its environment, its script, the folder with the result."""

import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from edgekd.errors import DeviceError
from edgekd.files import digest, sha256

CACHE = Path(".peers")
SCRIPTS = Path(__file__).parent / "scripts"
HEADER = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)  # PEP 723


@dataclass(frozen=True)
class Peer:
    """A script with its arguments; `backends` run what it makes, `file` is where it puts it."""

    script: str
    backends: tuple[str, ...]
    file: str
    arguments: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """Its script."""
        return SCRIPTS / f"{self.script}.py"

    @property
    def requirements(self) -> list[str]:
        """The packages that it pins."""
        found = HEADER.search(self.source.read_text(encoding="utf-8"))
        assert found is not None
        return list(tomllib.loads(re.sub(r"^# ?", "", found[1], flags=re.MULTILINE))["dependencies"])

    def key(self, given: Path) -> str:
        """What its result depends on."""
        return digest([sha256(self.source), *self.arguments, *(sha256(path) for path in sorted(given.iterdir()))])

    def make(self, given: Path) -> Path:
        """The model file that it makes of a student's folder; made once."""
        out = CACHE / "made" / self.key(given)[:16]
        if not out.is_dir():
            out.parent.mkdir(parents=True, exist_ok=True)
            with TemporaryDirectory(dir=out.parent) as scratch:
                folder = Path(scratch) / "out"
                folder.mkdir()
                self._run([str(self._python()), str(self.source), str(given), str(folder), *self.arguments])
                if not out.is_dir():  # another run may have been faster
                    folder.rename(out)
        return out / self.file

    def _python(self) -> Path:
        """The interpreter of its environment, which is made anew when its requirements change."""
        folder = CACHE / "venvs" / f"{self.script}-{digest(self.requirements)[:8]}"
        done = folder / "done"
        if not done.is_file():
            self._run([sys.executable, "-m", "venv", "--clear", str(folder)])
            self._run([str(folder / "bin" / "pip"), "install", "--quiet", *self.requirements])
            done.touch()
        return folder / "bin" / "python"

    def _run(self, command: list[str]) -> None:
        finished = subprocess.run(command, capture_output=True, text=True)
        if finished.returncode:
            last = finished.stderr.strip().splitlines()[-1:] or ["no word"]
            raise DeviceError(f"{self.script}: {command[0]} ended with {finished.returncode}: {last[0]}")


PEERS = {
    "NNCF": Peer("nncf_static", ("openvino",), "model.xml"),
    "NNCF mixed": Peer("nncf_static", ("openvino",), "model.xml", ("--preset", "mixed")),
    "NNCF plain": Peer(
        "nncf_static", ("openvino",), "model.xml", ("--preset", "mixed", "--batch", "64", "--keep-biases")
    ),
    "ORT static": Peer("onnxruntime_static", ("onnxruntime",), "model.onnx"),
    "torchao PT2E": Peer("torchao_pt2e", ("openvino", "onnxruntime"), "model.onnx"),
    "ai-edge-quantizer": Peer("litert_static", ("tflite",), "model.tflite"),
    "ModelOpt": Peer("modelopt_onnx", ("reference",), "model.onnx"),
}
