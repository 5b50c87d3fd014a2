"""The progress: losses, the metrics that a game names, and a time left that does not count compiling."""

import io
import re

import nbformat
import pytest
from notebooks import execute

from jaxgan.train import progress

ROW = {"critic/loss": 0.5, "critic/k": 0.25, "images_per_second": 64.0, "kimg": 1.5}


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 1.0)
    return now


def test_time_left_does_not_count_the_first_round(clock, capsys):
    with progress.Progress(steps=101, step=0, shown=("critic/k", "critic/missing")) as bar:
        clock[0] = 60.0
        bar.show(0, ROW)
        bar.advance(1)
        clock[0] = 70.0
        bar.advance(11)
        bar.show(11, ROW)
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("| compiling")
    assert re.search(
        r"critic 0\.500 critic/k 0\.250 \| 64 img/s \| 1\.5 kimg \| 2 min left$", second
    )


def test_a_resumed_run_counts_its_own_rounds(clock, capsys):
    with progress.Progress(steps=30, step=10) as bar:
        clock[0] = 5.0
        bar.advance(11)
        clock[0] = 7.0
        bar.advance(12)
        bar.show(12, ROW)
    assert capsys.readouterr().err.splitlines()[-1].endswith("| 36 s left")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(59.4, "59 s"), (59.6, "1 min"), (3599, "1 h"), (3661, "1 h 1 min"), (86_399, "1 d")],
)
def test_a_duration_is_rounded_to_whole_units(seconds, words):
    assert progress.duration(seconds) == words


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def screen(self) -> str:
        """The last line, as it was drawn last."""
        text = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", self.getvalue())
        return re.split(r"[\r\n]+", text.strip())[-1].strip()


@pytest.mark.parametrize("width", [50, 80, 120])
def test_a_bar_in_a_narrow_terminal_keeps_the_step_and_the_time_left(width, monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("sys.stderr", terminal := Terminal())
    with progress.Progress(
        steps=100_000, step=0, shown=tuple(f"critic/{i}" for i in range(9))
    ) as bar:
        bar.advance(1)
        for step in (50_000, 100_000):
            bar.advance(step)
            bar.show(step, ROW | {f"critic/{i}": 1.0 for i in range(9)})
    assert re.match(r"step 100000/100000 ━{5} 0:00:00 critic .*…$", terminal.screen())


def test_a_file_gets_lines_where_colours_are_forced(clock, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a notebook's kernel does for its commands
    with progress.Progress(steps=2, step=0) as bar:
        clock[0] = 5.0
        bar.advance(1)
        bar.show(1, ROW)
    assert capsys.readouterr().err == (
        "step 1/2 | critic 0.500 | 64 img/s | 1.5 kimg | compiling\n"
    )


CELL = """
import time
from jaxgan.train import progress
progress.REDRAW_EVERY_SECONDS = 0.2
row = {"critic/loss": 0.5, "images_per_second": 64.0, "kimg": 1.5}
with progress.Progress(steps=1000, step=0) as bar:
    for step in range(1, 1001):
        time.sleep(0.001)
        bar.advance(step)
        bar.show(step, row)
print("the next lines")
"""


def test_in_a_notebook_the_bar_is_one_output_that_is_replaced(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    received = execute(notebook, tmp_path)
    bar, lines = notebook.cells[0].outputs  # and nothing on standard error
    assert (bar.output_type, lines.text) == ("display_data", "the next lines\n")
    for kind in ("text/html", "text/plain"):
        words = re.sub(r"<[^>]*>|\x1b\[[0-9;]*m", "", bar.data[kind])
        assert re.match(
            r"step 1000/1000 ━+ 0:00:00 critic 0\.500 \| 64 img/s \| 1\.5 kimg\s*$", words
        )
    assert 2 <= received.count("update_display_data") <= 200  # of 2,000 changes
