import pytest

from pixloop.progress import parse_line, progress, track


def test_lines_tell_a_parent_how_far_it_is(monkeypatch, capsys):
    monkeypatch.setenv("PIXLOOP_PROGRESS", "lines")

    with progress("training", 10) as advance:
        advance(4, "loss 0.5")

    last = parse_line(capsys.readouterr().err.splitlines()[-1])
    assert last == {"description": "training", "done": 4, "total": 10, "note": "loss 0.5"}


def test_a_log_gets_plain_lines(capsys):
    assert list(track("abc", "reading", 3)) == ["a", "b", "c"]

    assert capsys.readouterr().err == "reading: 3/3\n"


@pytest.mark.parametrize("parent", [{}, {"PIXLOOP_PROGRESS": "lines"}])
def test_what_is_done_at_once_need_not_be_shown(monkeypatch, capsys, parent):
    for name, value in parent.items():
        monkeypatch.setenv(name, value)
    with progress("predicting", 3, after_s=60) as advance:
        advance(3)
    assert capsys.readouterr().err == ""


def test_a_bar_that_comes_late_shows_all_that_was_done(monkeypatch, capsys):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("predicting", 30, after_s=2) as advance:
        advance(10)
        assert capsys.readouterr().err == ""
        now = 2.5
        advance(10)
    assert "20/30" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["", "loss 0.3", "::pixloop-progress {", "::pixloop-progress 3"])
def test_an_ordinary_line_is_no_progress(line):
    assert parse_line(line) is None
