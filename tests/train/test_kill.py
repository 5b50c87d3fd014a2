"""kill -9 at any moment: the same command continues, and ends where an uninterrupted run ends, bit for bit.

`benchmarks/kill.py` does it for as long as one likes.
"""

import random

import pytest
from kill import CONFIGS, PLACES, Command, Kill, differences, random_kill
from processes import command_environment


@pytest.fixture
def command(tmp_path, cache_dir):
    """command(name, base, steps, checkpoint_every)"""
    return lambda name, *args: Command(tmp_path / name, *args, command_environment(cache_dir))


@pytest.mark.slow
def test_two_kills(command):
    """In a round, and while a checkpoint is written."""
    ours, theirs = (command(name, CONFIGS["gan"], 100, 10) for name in ("killed", "straight"))
    theirs.run()
    _, hit = ours.killed(Kill("step", 26, 0.0))
    assert hit
    said, hit = ours.killed(Kill("save", 2, 0.005))
    assert hit
    for text in (said, ours.run()):
        assert f"resuming {ours.workdir} at step " in text
    assert differences(ours, theirs) == []


@pytest.mark.slow
def test_kills_at_random_moments_in_every_place(command):
    ours, theirs = (command(name, CONFIGS["sngan"], 1000, 10) for name in ("killed", "straight"))
    theirs.run()
    moments = random.Random(0)
    kills = [random_kill(moments) for _ in range(2)]
    kills += [
        Kill(place, moments.randint(1, entries), moments.uniform(0, seconds))
        for place, (entries, seconds) in PLACES.items()
    ]
    report = []
    for kill in kills:
        _, hit = ours.killed(kill)
        assert hit, f"the run ended before {kill}"
        report.append(f"{kill}: {ours.summary()}")
    print(*report, ours.run(), sep="\n")
    assert differences(ours, theirs) == []
