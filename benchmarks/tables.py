"""The tables of the README and of docs/, written from benchmarks/results and from docstrings.

python -m benchmarks.tables          # rewrite what stands between `<!-- table: NAME -->` and `<!-- end -->`
python -m benchmarks.tables --check  # exit 1 where a page is not what the results say
"""

import ast
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.foreign import tables as foreign
from benchmarks.reference import reference

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
METHODS = ROOT / "edgekd" / "distillation"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
BLOCK = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
RUNTIMES = {"tflite": "LiteRT", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", "tensorrt": "TensorRT"}
NCNN_PLACES = ("x86-ncnn on local:", "raspberry-pi-5-ncnn on ssh://pi")
X86 = ("x86-tflite", "x86-openvino", "x86-onnxruntime")
Row = dict[str, Any]
Cells = Sequence[str]


def deployment() -> str:
    """Fashion-MNIST's student on this project's x86 runtimes, int8 and float32."""
    found = read("fashion-mnist.json")
    rows = []
    for name in X86:
        entry = found["targets"][name]
        int8, plain = entry["variants"]["int8"], entry["variants"]["float"]
        faster = plain["latency_ms"]["p50"] / int8["latency_ms"]["p50"]
        noisy = " (noisy)" if "noisy" in int8["latency_ms"]["flags"] + plain["latency_ms"]["flags"] else ""
        rows.append(
            (
                RUNTIMES[entry["backend"]],
                *(f"{shown(int8)} ({shown(plain)})" for shown in (_accuracy, _size, _time)),
                f"{faster:.2f} ×{noisy}",
            )
        )
    return markdown(("runtime", "accuracy", "size", "median latency", "int8 against float32"), rows)


def variants() -> str:
    """Every variant of Fashion-MNIST's student that was measured."""
    rows = [
        (RUNTIMES[entry["backend"]], label, _accuracy(row), _size(row), _interval(row["latency_ms"]))
        for name, entry in read("fashion-mnist.json")["targets"].items()
        if name in X86
        for label, row in entry["variants"].items()
    ]
    return markdown(("runtime", "variant", "accuracy", "size", "median latency (interval)"), rows)


def learning() -> str:
    """Fashion-MNIST's networks: teacher, scratch control and distilled student."""
    found = read("fashion-mnist.json")
    names = {
        "teacher": "teacher, ResNet-20",
        "student_scratch": "ResNet-8, from scratch",
        "student": "ResNet-8, distilled",
    }
    rows = []
    for key, title in names.items():
        row = found[key]
        size, work = f"{row['parameters']:,}", f"{row['macs'] / 1e6:.1f} M"
        rows.append((title, _spread(row["metric"], 100), size, work))
    return markdown(("network", "accuracy %", "parameters", "multiply-accumulates"), rows)


def methods() -> str:
    """Every distillation method on 20,000 images, the best first."""
    found = read("methods.json")["rows"]
    ordered = sorted((row for row in found.items() if row[1]["limit"]), key=lambda row: -row[1]["test"]["mean"])
    rows = [
        (
            "from scratch" if name == "scratch" else name,
            _spread(row["test"], 100),
            f"{100 * row['agreement']['mean']:.2f}" if row["agreement"] else "–",
            f"{100 * row['calibration_error']['mean']:.2f}",
        )
        for name, row in ordered
    ]
    return markdown(("method", "accuracy %", "agreement with the teacher %", "calibration error %"), rows)


def networks() -> str:
    """What goes through which backend, calibrated."""
    rows = []
    for row in read("networks.json")["networks"].values():
        cells = [row["cells"].get(f"{backend} calibrated") for backend in RUNTIMES]
        near = min(((cells[0] or {}).get("sqnr_to_float") or {}).values(), default=None)
        rows.append((row["title"], *map(_network, cells), "–" if near is None else f"{near:.1f}"))
    return markdown(("network", *RUNTIMES.values(), "int8 to float, dB"), rows)


def _network(cell: Row | None) -> str:
    if cell is None or not cell.get("kernels"):
        return "–" if cell is None else cell["status"]
    kernels = "/".join(map(str, cell.get("kernels") or ()))
    parity = [row for row in cell.get("parity") or () if row["max"] is not None]
    if any(row.get("proof") == "layers" for row in parity):
        return f"{kernels}, by layer"
    return kernels + (f", {max(row['max'] for row in parity):.0f}" if parity else "")


def quantisers() -> str:
    """Points of accuracy lost to int8: a peer's, ours beside it, and our size and latency over theirs."""
    document, rows = read("side-by-side.json"), []
    students = document["students"].values()
    for backend in ("openvino", "onnxruntime", "tflite", "reference"):
        peers = dict.fromkeys(name for student in students for name in student["backends"].get(backend, {}))
        for peer in peers:
            if not peer.startswith("edgekd"):
                label = f"{peer}, {RUNTIMES.get(backend, backend)}"
                rows.append((label, *(_beside(student["backends"].get(backend, {}), peer) for student in students)))
    return markdown(("quantiser, runtime", *(student["title"] for student in students)), rows)


def _beside(cells: Row, peer: str) -> str:
    ours, theirs = cells.get("edgekd"), cells.get(peer)
    if not ours or not theirs or not theirs.get("draws"):
        return "–"
    told = [f"{ours['drop']['mean']:+.2f} / {theirs['drop']['mean']:+.2f}"]
    sizes = [[draw["bytes"] for draw in cell["draws"].values() if draw.get("bytes")] for cell in (ours, theirs)]
    if all(sizes):
        told.append(f"{mean(sizes[0]) / mean(sizes[1]):.2f} ×")
    if ours.get("latency") and theirs.get("latency"):
        told.append(f"{ours['latency']['p50'] / theirs['latency']['p50']:.2f} ×")
    return ", ".join(told)


def published() -> str:
    """Published networks: how each export ended, and its task's agreement with the float file."""
    titles, rows = foreign.rows(read("foreign.json"))
    return markdown([RUNTIMES.get(title.removeprefix("edgekd "), title) for title in titles], rows)


def sentences() -> str:
    """MiniLM and its students: Spearman, probes, size and time."""
    rows = []
    keys = ("spearman", "reuters-r8", "rotten-tomatoes")
    for found in read("minilm-sts.json")["rows"]:
        students = {"student": found["variant"], "scratch": "labels alone"}
        names = students if found["variant"] == "no labels" else ("student",)
        for name in ("teacher", *names) if "models" in found else ():
            model = found["models"][name]
            label = name if name == "teacher" else f"{found['recipe']}, {students[name]}"
            time = f"{model['latency_ms']['p50']:.2f} ms" if "latency_ms" in model else "–"
            scores = (f"{100 * model[key]:.2f}" for key in keys)
            if label not in [row[0] for row in rows]:
                rows.append((label, *scores, f"{model['parameters'] / 1e6:.2f} M", time))
    titles = ("network", "Spearman, STS-B", "probe: Reuters R8", "probe: film reviews", "parameters", "time")
    return markdown(titles, rows)


def sentence_targets() -> str:
    """MiniLM's students on each runtime; what a run says to ship is bold."""
    rows = []
    for found in read("minilm-sts.json")["rows"]:
        for name, target in found.get("deployed", {}).get("targets", {}).items():
            for label, row in (target["variants"] or {}).items():
                shown = f"**{label}**" if label == target["best"] else label
                cells = f"{100 * row['metric']['mean']:.2f}", _size(row), _interval(row["latency_ms"])
                rows.append((f"{found['recipe']}, {found['variant']}", name, shown, *cells))
    return markdown(("network", "target", "variant", "Spearman", "size", "median latency (interval)"), rows)


def microcontroller() -> str:
    """The smartwatch's student on TFLite-Micro."""
    found = read("watch-har.json")
    entry = found["targets"]["tflm-cortex-m"]
    size, worst = entry["footprint"], max(row["max"] for row in entry["parity"] if row["max"] is not None)
    row = (
        "watch-har's student",
        *(f"{size[key] / 1e3:.1f} kB" for key in ("flash_bytes", "arena_bytes")),
        f"{size['macs'] / 1e6:.2f} M",
        f"{worst:.0f}",
        f"{100 * entry['metric']['mean']:.1f} %",
    )
    return markdown(("network", "flash", "arena", "multiply-accumulates", "largest step", "accuracy"), [row])


def hexagon() -> str:
    """Networks on Qualcomm's HTP, in its emulator."""
    titles = ("network", "target", "activations", "operations in integers", "parts", "largest distance", "proof")
    rows = []
    for row in read("runtimes.json")["runtimes"]["qnn"].values():
        for label, cell in row["cells"].items():
            target = label.partition(" on ")[0]
            if cell["status"] != "ok":
                rows.append((row["title"], target, *"––––", cell["status"]))
                continue
            placed, far = cell["placed"], max(each["max"] for each in cell["parity"] if each["max"] is not None)
            whole = f"{placed['integer']} of {sum(placed.values())}"
            bits = "16 bits" if cell["scheme"].endswith("a16") else "8 bits"
            rows.append((row["title"], target, bits, whole, str(cell["islands"]), f"{far:.1f} steps", _proof(cell)))
    return markdown(titles, rows)


def ncnn() -> str:
    """Networks on ncnn: here, then on an emulated board."""
    rows = []
    for row in read("runtimes.json")["runtimes"]["ncnn"].values():
        for precision in ("int8", "float", "float16"):
            here, there = (row["cells"].get(place + _of(precision), {}) for place in NCNN_PLACES)
            if here.get("status") == "ok":
                counts = "{} of {}".format(*here["kernels"])
                equal, time = _percent(there.get("equal_to_host")), _noisy_time(here)
                rows.append((row["title"], precision, counts, _furthest(here), _furthest(there), equal, time))
    titles = (
        "network",
        "precision",
        "layers in int8",
        "x86-64",
        "Cortex-A76, emulated",
        "same values",
        "x86-64's median",
    )
    return markdown(titles, rows)


def _of(precision: str) -> str:
    """How a place of that precision ends."""
    return "" if precision == "int8" else f", {precision}"


def _furthest(cell: Row) -> str:
    """The largest distance of any output, and how every layer by itself is beside what roundings add up to."""
    if cell.get("status") != "ok":
        return cell.get("status", "–")
    far = max(each["max"] for each in cell["parity"])
    alone = cell.get("layers")
    return f"{far:.2g} steps" + (f"; by layer {alone['worst']['max']:.0f}, {alone['exact']:.2%} equal" if alone else "")


def _noisy_time(cell: Row) -> str:
    return f"{cell['p50']:.3f} ms" + (" (noisy)" if "noisy" in cell["flags"] else "")


def ethos_u() -> str:
    """Networks compiled for Arm's Ethos-U, with what Vela expects of them."""
    titles = (
        "network",
        "target",
        "operators on the NPU",
        "largest distance",
        "proof",
        "cycles, by Vela's estimate",
        "SRAM",
    )
    rows = []
    for row in read("runtimes.json")["runtimes"]["ethos-u"].values():
        for label, cell in row["cells"].items():
            target = label.partition(" on ")[0]
            if cell["status"] != "ok":
                rows.append((row["title"], target, cell["status"], *"––––"))
                continue
            placed, far = cell["placed"], max(each["max"] for each in cell["parity"] if each["max"] is not None)
            whole = f"{placed['NPU']} of {sum(placed.values())}"
            size = cell["footprint"]
            figures = f"{size['npu_cycles_estimate']:,}", f"{size['sram_bytes'] / 1e3:.1f} kB"
            rows.append((row["title"], target, whole, f"{far:.1f} steps", _proof(cell), *figures))
    return markdown(titles, rows)


def _proof(cell: Row) -> str:
    """What vouches for a network whose outputs hold: these themselves, or each layer alone."""
    return f"each layer within {cell['layers']['worst']['max']:.1f} steps" if "layers" in cell else "outputs"


def devices() -> str:
    """One student on this machine and on emulated boards."""
    rows = []
    for line in (RESULTS / "devices.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        machine, apart = row["machine"], row.get("difference") or {}
        outputs = apart.get("outputs") or [{}]
        rows.append(
            (
                f"{machine['arch']}{', emulated' if machine.get('emulated') else ''}",
                f"{row['runtime']} {row['runtime_version']}",
                row["label"],
                f"{100 * row['metric']:.2f} %",
                _percent(outputs[0].get("differing")),
                _plain(outputs[0].get("argmax_changes")),
            )
        )
    return markdown(
        ("device", "runtime", "variant", "accuracy", "values that differ from the host", "classes that change"), rows
    )


def instructions() -> str:
    """Instructions of an inference, int8 over float32, counted under qemu."""
    rows = [
        (row["name"], row["core"], f"{row['instructions'] / 1e6:.2f} M", f"{100 * row['of_float']:.0f} %")
        for row in read("instructions.json")["rows"]
        if row["precision"] == "int8"
    ]
    return markdown(("network", "core", "int8 instructions", "of float32's"), rows)


def ran() -> str:
    """Per runtime and place: whether its bundles were executed, emulated, or only compiled, and what came of it."""
    rows = []
    for runtime, section in read("runtimes.json")["runtimes"].items():
        for place in dict.fromkeys(place for row in section.values() for place in row["cells"]):
            cells = {row["title"]: row["cells"][place] for row in section.values() if place in row["cells"]}
            refused = [f"{title} is {cell['status']}" for title, cell in cells.items() if cell["status"] != "ok"]
            proven = f"{len(cells) - len(refused)} of {len(cells)}"
            rows.append((runtime, place, _how(place, cells.values()), proven, "; ".join(refused) or "–"))
    return markdown(("runtime", "target, device", "how", "networks proven", "others"), rows)


def _how(place: str, cells: Iterable[Row]) -> str:
    """In the words of the runtime that stands in for a device, if one does."""
    stands_in = next(filter(None, (cell.get("executed") for cell in cells)), None)
    if stands_in:
        return f"compiled for the device; {stands_in}"
    return "executed on an emulated board" if "ssh://" in place else "executed here"


def browsers() -> str:
    """Networks in browsers: whether parity holds, and how many values are the host's bit for bit."""
    section = read("runtimes.json")["runtimes"]["web"]
    places = list(dict.fromkeys(place for row in section.values() for place in row["cells"]))
    rows = [(row["title"], *(_in_browser(row["cells"].get(place)) for place in places)) for row in section.values()]
    return markdown(("network, int8", *(place.replace(" on web:", ", ") for place in places)), rows)


def _in_browser(cell: Row | None) -> str:
    if cell is None or cell["status"] != "ok":
        return "–" if cell is None else str(cell["status"])
    return f"proven, {_percent(cell['equal_to_host'])} equal"


def tasks() -> str:
    """Each task with what it takes and gives, from its docstring."""
    return _summaries("tasks")


def metrics() -> str:
    """Each metric, from its docstring."""
    return _summaries("metrics")


def _summaries(package: str) -> str:
    rows = []
    for path in sorted((ROOT / "edgekd" / package).glob("[!_]*.py")):
        told = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0]
        rows.append((f"`{path.stem.replace('_', '-')}`", _cited(told).replace("|", "\\|")))
    return markdown((package.removesuffix("s"), "what it is"), rows)


def data_path() -> str:
    """What reading data takes beside a plain loop, and what a long epoch takes and repeats."""
    rows = [
        (
            name,
            f"{row['ratio']:.3f}" + (f" ({row['low']:.3f}–{row['high']:.3f})" if "rounds" in row else ""),
            row["goal"],
        )
        for part in read("data-path.json").values()
        for name, row in part.items()
        if isinstance(row, dict) and "goal" in row
    ]
    return markdown(("ratio", "found (interval)", "goal"), rows)


def distillation() -> str:
    """Each method with its paper, loss and parameters, from its docstrings."""
    return "\n\n".join(_method(path) for path in sorted(METHODS.glob("[!_]*.py"))) + "\n"


def _method(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = [node for node in tree.body if isinstance(node, ast.ClassDef) and _fields(node)]
    losses = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.endswith("_loss")]
    told = [f"## {path.stem.replace('_', '-')}", _cited((ast.get_docstring(tree) or "").partition("\n\n")[0])]
    told += [ast.get_docstring(node) or "" for node in kinds[:1]]
    told += [f"**Loss.** {' '.join((ast.get_docstring(node) or '').split())}" for node in losses[:1]]
    names = ", ".join(f"`{name}`{f' = {default}' if default else ' (required)'}" for name, default in _fields(kinds[0]))
    return "\n\n".join([*told, f"Parameters: {names}."])


def _fields(node: ast.ClassDef) -> list[tuple[str, str]]:
    declared = [item for item in node.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    own = [item for item in declared if "ClassVar" not in ast.unparse(item.annotation)]
    layers = [("layers", "")] if any(ast.unparse(base) == "Pairs" for base in node.bases) else []
    return layers + [(ast.unparse(item.target), ast.unparse(item.value) if item.value else "") for item in own]


def _cited(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{4,5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", " ".join(text.split()))


TABLES: dict[str, Callable[[], str]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        *(deployment, variants, learning, methods, networks, quantisers, published, sentences, sentence_targets),
        *(microcontroller, hexagon, ethos_u, ncnn, browsers, ran, devices, instructions, distillation, tasks, metrics),
        *(data_path, reference),
    )
}


def read(name: str) -> Row:
    """A result file."""
    document: Row = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return document


def markdown(titles: Cells, rows: Sequence[Cells]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def stale() -> Iterator[tuple[Path, str]]:
    """The pages that are not what the results say, with what they should be."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        made = BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)
        if made != text:
            yield page, made


def main() -> int:
    """Rewrite the pages, or say which are stale."""
    pages = list(stale())
    for page, text in pages:
        print(page.relative_to(ROOT))
        if "--check" not in sys.argv:
            page.write_text(text, encoding="utf-8")
    return 1 if pages and "--check" in sys.argv else 0


def _accuracy(row: Row) -> str:
    return f"{100 * row['metric']['mean']:.2f} %"


def _size(row: Row) -> str:
    return f"{row['bytes'] / 1e6:.1f} MB" if row["bytes"] >= 1e6 else f"{row['bytes'] / 1e3:.0f} kB"


def _time(row: Row) -> str:
    return f"{row['latency_ms']['p50']:.3f} ms"


def _interval(found: Row | None) -> str:
    if not found:
        return "–"
    noisy = ", noisy" if "noisy" in (found.get("flags") or ()) else ""
    return f"{found['p50']:.3f} ms ({found['low']:.3f}–{found['high']:.3f}{noisy})"


def _spread(found: Row, factor: float) -> str:
    return f"{factor * found['mean']:.2f}" + ("" if found["std"] is None else f" ± {factor * found['std']:.2f}")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2f} %"


def _plain(count: int | None) -> str:
    return "–" if count is None else str(count)


if __name__ == "__main__":
    sys.exit(main())
