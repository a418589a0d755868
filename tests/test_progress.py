import pytest

from edgekd.progress import Reporter

NAME = "bundles/[/b] [red]"  # rich would take the first for the end of a tag


@pytest.mark.parametrize("terminal", [True, False])
def test_names_are_shown_as_they_are(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("FORCE_COLOR" if terminal else "NO_COLOR", "1")
    reporter = Reporter()
    with reporter.track(f"measuring {NAME}", total=2) as bar:
        bar.advance(note=f"at {NAME}")
    reporter.say(f"done {NAME}")
    said = capsys.readouterr().err
    assert f"measuring {NAME}" in said
    assert (f"at {NAME}" in said) is terminal
    assert f"done {NAME}" in said
