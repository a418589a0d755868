import copy
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st

from edgekd.errors import BadInputError
from edgekd.files import write_json
from edgekd.reporting.html import render, write_report
from edgekd.reporting.run_record import RunRecord, read_run
from tests.properties import few

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
VOID = {"meta", "br", "img", "link", "use", "path", "rect", "input"}


class Page(HTMLParser):
    """The elements of a page and its visible words; fails on a tag that does not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.words.append(data)

    @property
    def sections(self) -> list[str | None]:
        return [attributes.get("id") for tag, attributes in self.elements if tag == "section"]

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_every_section_and_every_status_is_there(run: dict[str, Any], sample: str) -> None:
    page = Page(sample)
    assert page.sections == SECTIONS
    for word in ("not proven", "not executed", "failed", "the layer at fault: stages.1.0.add", "reference"):
        assert word in page.text
    assert "A student 3.5 times smaller keeps 97.8 % of its teacher’s accuracy." in page.text
    assert "0.206–0.221 ms" in page.text
    assert "yes, 2.21× float" in page.text
    assert run["recipe_sha256"] in page.text
    assert run["git_commit"] in page.text


def test_nothing_is_fetched_and_nothing_runs(sample: str) -> None:
    assert not re.findall(r"https?://", re.sub(r'xmlns(:xlink)?="http://www\.w3\.org/[^"]*"', "", sample))
    page = Page(sample)
    assert not {"script", "link", "img", "iframe", "object", "image"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on")]
        assert all((attributes.get(name) or "#").startswith("#") for name in ("href", "xlink:href", "src"))
    assert re.findall(r"url\((?!#)", sample) == []
    assert "@import" not in sample


def test_every_plot_has_words_and_ids_are_unique(sample: str) -> None:
    page = Page(sample)
    plots = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(plots) == 8  # four plots in two widths
    assert {attributes["role"] for attributes in plots} == {"img", "group"}  # one holds links
    assert all(len(attributes["aria-label"] or "") > 40 for attributes in plots)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_the_same_run_gives_the_same_bytes(run: dict[str, Any], folder: Path, sample: str) -> None:
    assert render(RunRecord.of(copy.deepcopy(run)), folder) == sample


def test_sections_without_data_vanish(run: dict[str, Any], tmp_path: Path) -> None:
    del run["targets"]
    assert Page(render(RunRecord.of(run), tmp_path)).sections == [
        "promises",
        "accuracy",
        "learning",
        "layers",
        "provenance",
    ]
    del run["student"], run["student_scratch"], run["quantized"], run["distillation"], run["float"]
    assert Page(render(RunRecord.of(run), tmp_path)).sections == ["learning", "provenance"]
    del run["teacher"], run["stages"]
    page = Page(render(RunRecord.of(run), tmp_path))
    assert page.sections == ["provenance"]
    assert "ResNet-20 teaches ResNet-8" in page.text


def test_an_empty_run_is_still_a_page(tmp_path: Path) -> None:
    page = Page(render(RunRecord.of({}), tmp_path))
    assert page.sections == []
    assert tmp_path.name in page.text


def test_a_gap_that_is_not_known_says_why(run: dict[str, Any], folder: Path) -> None:
    reason = "teacher − scratch is below two standard errors"
    known = {"teacher": run["teacher"], "distillation": {"tax": 0.001, "gap_recovered": None, "reason": reason}}
    assert Page(render(RunRecord.of(known), folder)).text.count(reason) == 2  # beside the tax, and among the facts


HOSTILE = {
    "x86-tflite": "<script>alert(1)</script>",
    "accuracy": '"><img src=x onerror=alert(1)>',
    "x86-openvino": "--><script>alert(2)</script><!--",
    "bf16": "</style><script>alert(3)</script>",
    "int8-asymmetric": "</svg><script>alert(4)</script>",
    "fashion-mnist-subset": "{{ 7 * 7 }}",
    "x86-onnxruntime": "$\\frac{",
    "logits": "]]><script>alert(5)</script>",
}


def test_hostile_names_are_only_text(run: dict[str, Any], folder: Path) -> None:
    text = json.dumps(run)
    for word, name in HOSTILE.items():
        text = text.replace(f'"{word}"', json.dumps(name))
    hostile = json.loads(text) | {"title": HOSTILE["bf16"]}
    hostile["versions"]["<script>"] = "<script>"
    (folder / "qat/int8-asymmetric").rename(folder / "qat/<script>")
    page = Page(render(RunRecord.of(hostile), folder))
    assert not {"script", "img"} & {tag for tag, _ in page.elements}
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    for name in HOSTILE.values():
        assert name in page.text


scores = st.floats(0, 1) | st.fixed_dictionaries({"mean": st.floats(0, 1)})
variants = st.dictionaries(
    st.sampled_from(["int8", "float", "bf16"]),
    st.fixed_dictionaries({}, optional={"bytes": st.none() | st.integers(1, 10**9), "latency_ms": st.none()}),
)
target = st.fixed_dictionaries(
    {"backend": st.text(max_size=9), "status": st.sampled_from(["ok", "unverified", "skipped", "failed", "fallback"])},
    optional={
        "metric": st.none() | scores,
        "metric_source": st.sampled_from(["device", "reference", None]),
        "int8_pays": st.sampled_from([True, False, None]),
        "variants": variants,
        "kernels": st.none() | st.just({"int8": None, "total": None}) | st.just({"int8": 0, "total": 3}),
        "parity": st.just([]) | st.just([{"output": "y", "batch": 1, "n": 2, "ok": True}]),
    },
)
model = st.none() | st.fixed_dictionaries(
    {"metric": st.fixed_dictionaries({"mean": st.floats(0, 1)}), "parameters": st.integers(0, 10**9)}
)


@few(8, phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # unshrunk: every example draws plots
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "teacher": model,
            "student": model,
            "student_scratch": model,
            "targets": st.dictionaries(st.text(min_size=1, max_size=9), target, max_size=3),
        },
    )
)
def test_any_run_can_be_shown(tmp_path: Path, run: dict[str, Any]) -> None:
    Page(render(RunRecord.of(run), tmp_path))


def test_a_run_folder_gets_its_report_and_another_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no run\.json: not a finished run"):
        write_report(tmp_path)
    for content, message in {
        "{": r"run\.json: not valid JSON: ",
        '{"schema": 2, "targets": 3}': r"run\.json: targets: ",
        '{"schema": 2, "titel": "x"}': r"run\.json: unknown key 'titel'; did you mean 'title'",
        '{"title": "Mine"}': r"run\.json: no record of a finished run, and this edgekd reads schema 2: make it again",
        '{"schema": 1, "title": "Mine", "state": 3}': r"run\.json: of schema 1, and this edgekd reads schema 2",
        '{"schema": 3, "title": "Mine"}': r"run\.json: of schema 3, and this edgekd reads schema 2",
        "[]": r"run\.json: no record of a finished run",
    }.items():
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(BadInputError, match=message):
            write_report(tmp_path)
    (tmp_path / "run.json").write_text('{"schema": 2, "title": "Mine"}')
    assert "Mine" in write_report(tmp_path).read_text(encoding="utf-8")


PUBLISHED = [
    path
    for path in sorted((Path(__file__).parents[2] / "benchmarks/results").glob("*.json"))
    if path.read_text(encoding="utf-8").startswith('{\n  "schema": 2,')
]


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_record_that_is_read_is_written_as_it_was_to_the_byte(path: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", read_run(path).document())
    assert (tmp_path / "run.json").read_bytes() == path.read_bytes()


def test_published_records_have_all_that_a_run_may_have() -> None:
    """What the test above is worth: it would not see a key that none of them has."""
    records = [read_run(path) for path in PUBLISHED]
    assert any(run.distillation and run.distillation.others for run in records)
    for key in ("float", "quantized", "targets", "stages", "pictures", "other_scales"):
        assert any(getattr(run, key) for run in records), key
