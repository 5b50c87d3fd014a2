"""kill -9 at any moment: the same command continues, and ends where an uninterrupted run ends, bit for bit."""

import os
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from processes import one_device

from jaxgan import config
from jaxgan.train import Checkpoints, make_engine, read_metrics

PATIENCE = 120  # seconds for anything that takes one

GAN = ["gan_mixture2d", "model.generator_width=8", "model.critic_width=8", "model.depth=1"]
SNGAN = [
    "sngan_digits",
    "model.generator_width=8",
    "model.critic_width=8",
    "model.ema_half_life_kimg=1",
]


class Command:
    """`python -m jaxgan train` of a tiny config into a workdir, in a process of its own."""

    def __init__(self, workdir, cache_dir, base, steps, checkpoint_every):
        name, *changes = base
        changes += ["model.batch_size=8", f"train.steps={steps}", "train.devices=1", "train.grid=4"]
        changes += [
            f"train.checkpoint_every={checkpoint_every}",
            "train.log_every=5",
            "train.sample_every=100",
        ]
        overrides = [f"--config.{change}" for change in changes]
        self.arguments = [sys.executable, "-m", "jaxgan", "train", "--config", name, *overrides]
        self.arguments += ["--workdir", str(workdir)]
        self.config = config.load(name, changes)
        self.workdir, self.checkpoints = workdir, workdir / "checkpoints"
        self.env = dict(
            os.environ,
            JAX_PLATFORMS="cpu",
            XLA_FLAGS=one_device(),
            JAX_COMPILATION_CACHE_DIR=str(cache_dir),
            JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
        )

    def start(self):
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        return subprocess.Popen(self.arguments, env=self.env, **pipe)

    def run(self):
        """Lets it run to its end and returns what it said."""
        with self.start() as child:
            try:
                said = child.communicate(timeout=5 * PATIENCE)[0]
            finally:
                child.kill()
        assert child.returncode == 0, said
        return said

    def killed(self, when):
        """Starts it, kills it as soon as `when()` is true, and returns its output."""
        with self.start() as child:
            try:
                deadline = time.monotonic() + PATIENCE
                while not when():
                    assert child.poll() is None, f"ended by itself: {child.stdout.read()}"
                    assert time.monotonic() < deadline, "never came to the moment to kill it"
                    time.sleep(0.001)
            finally:
                child.kill()
            said = child.communicate()[0]
        assert child.returncode == -signal.SIGKILL
        return said

    def step(self):
        """The last step of which it has written metrics."""
        rows = read_metrics(self.workdir)
        return rows[-1]["step"] if rows else 0

    def after(self, rounds, seconds):
        """For `killed`: true `seconds` after the first metrics of `rounds` more rounds than now."""
        goal, since = self.step() + rounds, []

        def when():
            if not since and self.step() >= goal:
                since.append(time.monotonic())
            return bool(since) and time.monotonic() - since[0] >= seconds

        return when

    def saving(self):
        """Names of the checkpoints that are half written."""
        if not self.checkpoints.is_dir():
            return []
        return [name for name in os.listdir(self.checkpoints) if not name.isdigit()]

    def final(self):
        """(step, leaves) of the last checkpoint."""
        source = config.open_data(self.config)
        run = config.make_run(self.config, source.spec)
        engine = make_engine(run.game, run.train_options, self.config.seed)
        step, state = Checkpoints(self.checkpoints).restore(engine.state_shape)
        paths = jax.tree_util.tree_leaves_with_path(state)
        return step, {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


def assert_same_run(ours, theirs):
    (step, leaves), (their_step, their_leaves) = ours.final(), theirs.final()
    assert step == their_step == ours.config.train.steps
    assert leaves.keys() == their_leaves.keys()
    assert [n for n in leaves if leaves[n].tobytes() != their_leaves[n].tobytes()] == []
    rates = ("images_per_second", "rounds_per_second", "data_wait")

    def rows(command):
        table = read_metrics(command.workdir)
        return [{name: value for name, value in row.items() if name not in rates} for row in table]

    assert rows(ours) == rows(theirs)
    for name in ("samples.png", *(f"samples/{s:08d}.png" for s in range(0, step + 1, 100))):
        assert (ours.workdir / name).read_bytes() == (theirs.workdir / name).read_bytes()


def test_two_kills(tmp_path, cache_dir):
    ours, theirs = (
        Command(tmp_path / name, cache_dir, GAN, 400, 20) for name in ("killed", "straight")
    )
    theirs.run()
    ours.killed(
        ours.after(rounds=50, seconds=0)
    )  # the first checkpoint is whole: the second has begun
    said = ours.killed(ours.after(rounds=60, seconds=0.01))
    assert "resuming" in said
    assert f"resuming {ours.workdir} at step " in ours.run()
    assert_same_run(ours, theirs)


@pytest.mark.slow
def test_ten_kills_at_random_moments_and_one_inside_a_save(tmp_path, cache_dir):
    ours, theirs = (
        Command(tmp_path / name, cache_dir, SNGAN, 2000, 10) for name in ("killed", "straight")
    )
    theirs.run()
    moments = random.Random(0)
    report = []
    for _ in range(10):
        if moments.random() < 0.2:  # perhaps while it is still starting
            seconds = moments.uniform(0, 8)
            started = time.monotonic()
            ours.killed(lambda at=started + seconds: time.monotonic() >= at)
        else:
            ours.killed(ours.after(moments.randrange(5, 100), moments.uniform(0, 0.2)))
        on_disk = Checkpoints(ours.checkpoints).steps()
        report.append(
            f"killed after step {ours.step()}, checkpoints {on_disk}, half written {ours.saving()}"
        )
    for _ in range(20):
        enough = ours.after(moments.randrange(5, 50), 0)
        ours.killed(lambda enough=enough: enough() and ours.saving())
        if left := ours.saving():
            report.append(f"killed inside a save, which left {left}")
            break
    else:
        pytest.fail("never caught it inside a save")
    print(*report, ours.run(), sep="\n")
    assert ours.saving() == []  # what the killed saves left is cleared away
    assert_same_run(ours, theirs)
