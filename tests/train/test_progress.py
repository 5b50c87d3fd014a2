"""The progress line: losses, the metrics that a game names, and a time left that does not count compiling."""

import re

import pytest

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
