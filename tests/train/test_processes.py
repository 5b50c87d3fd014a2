"""Commands in several processes: the same numbers as one process gives, and no waiting for one that is lost.

`test_devices.py` says how far apart two runs may be that differ only in how sums are split.
"""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from processes import Together, command_environment, free_port

from jaxgan import config
from jaxgan.cli import processes
from jaxgan.cli.main import main
from jaxgan.metrics.compare import scores
from jaxgan.train import Checkpoints, read_evaluations, read_metrics

STEPS, EVERY = 40, 5
ROUNDING = 1e-5  # 5e-7 were seen
SOON = 60  # seconds in which a process must end after another one was lost

# On two processes of two devices, a mesh of 2 x 2: kernels of 256 x 256 are split over two devices.
TRAIN = [
    *("train", "--config", "gan_mixture2d", "--config.model.batch_size=16"),
    *(f"--config.train.steps={STEPS}", f"--config.train.checkpoint_every={EVERY}"),
    *("--config.train.keep=100", "--config.train.log_every=5", "--config.train.sample_every=20"),
    *("--config.train.grid=64", "--config.train.fsdp=2"),
]

# A command that appends what it has written below a folder, as a line of JSON, to a file.
WATCHED = """
import atexit, json, os, sys
folder, file = sys.argv[1:3]
del sys.argv[1:3]
written = set()
def watch(event, args):
    writes = event in ("os.mkdir", "os.rename", "os.remove") or (event == "open" and args[2] & os.O_ACCMODE)
    for path in args[:2] if writes else ():
        if isinstance(path, str) and os.path.abspath(path).startswith(folder + os.sep):
            written.add(os.path.relpath(path, folder))
sys.addaudithook(watch)
def tell():
    with open(f"{file}{sys.argv[-1]}", "a") as lines:
        lines.write(json.dumps(sorted(written)) + "\\n")
atexit.register(tell)
from jaxgan.cli.main import main
sys.exit(main())
"""

# A command that says when it has opened a run, which is after the processes are connected.
OPENING = """
import sys
from jaxgan import config
from jaxgan.cli.main import main
restore = config.restore
def restored(*arguments, **options):
    run = restore(*arguments, **options)
    print("opened", flush=True)
    return run
config.restore = restored
sys.exit(main())
"""


@pytest.fixture
def environment(cache_dir):
    return command_environment(cache_dir)


def alone(arguments, environment, devices):
    """Runs a command in one process of so many devices."""
    flags = f"{environment['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, "-m", "jaxgan", *map(str, arguments)]
    done = subprocess.run(
        command, env=environment | {"XLA_FLAGS": flags}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def straight(tmp_path_factory, cache_dir):
    """(workdir, what each process has said, what each has written) of two processes that nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    workdir = folder / "run"
    program = ("-c", WATCHED, workdir, folder / "written")
    said = Together(
        [*TRAIN, "--workdir", workdir], command_environment(cache_dir), folder, program=program
    ).finish()
    written = []
    for index in range(2):
        lines = (folder / f"written{index}").read_text().splitlines()
        written.append({path for line in lines for path in json.loads(line)})
    return workdir, said, written


def leaves(workdir, step):
    """{path: array} of a checkpoint."""
    state = config.restore(workdir, step)[-1]
    paths = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in paths}


def assert_equal(workdir, other, step):
    ours, theirs = leaves(workdir, step), leaves(other, step)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if ours[name].tobytes() != theirs[name].tobytes()] == []


def assert_close(workdir, other, step):
    ours, theirs = leaves(workdir, step), leaves(other, step)
    assert ours.keys() == theirs.keys()
    apart = {}
    for name, value in theirs.items():
        difference = np.linalg.norm(np.float64(ours[name]) - value)
        apart[name] = difference / max(np.linalg.norm(np.float64(value)), 1e-12)
    print(f"step {step}: at most {max(apart.values()):.1e} apart")
    assert max(apart.values()) <= ROUNDING, apart


@pytest.mark.slow
def test_two_processes_train_and_evaluate_as_one(straight, environment, tmp_path):
    workdir, said, _ = straight
    assert f"workdir {workdir}, 4 x cpu in 2 processes" in said[0]
    for told in ("step 40/40 | ", "jaxgan: done: 40 steps."):  # by one of them
        assert told in said[0]
        assert told not in said[1]
    one = tmp_path / "one"
    alone([*TRAIN, "--workdir", one], environment, 4)
    for step in (EVERY, STEPS):
        assert_close(workdir, one, step)
    ours, theirs = read_metrics(workdir), read_metrics(one)
    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for row, other in zip(ours, theirs, strict=True):
        for name in ("kimg", "critic/loss", "generator/loss"):
            assert row[name] == pytest.approx(other[name], rel=ROUNDING)

    command = ["evaluate", "--workdir", workdir, "--num", 500]
    said = Together(command, environment, tmp_path).finish()
    result = json.loads(said[0].splitlines()[-1])
    assert "fd_points" not in said[1]
    alone(command, environment, 1)
    first, second = read_evaluations(workdir)  # one process has written its row
    assert scores(first) == scores(result)
    assert scores(first) == pytest.approx(scores(second), rel=1e-6)


@pytest.mark.slow
def test_only_checkpoints_are_written_by_all_processes(straight):
    workdir, _, (first, second) = straight
    assert {"config.json", "metrics.jsonl", "losses.png", "samples.png"} <= {
        os.path.basename(path).removeprefix(".") for path in first
    }
    others = {path for path in second if path.split(os.sep)[0] != "checkpoints"}
    assert others == {".lock-1"}
    parts = workdir / "checkpoints" / str(STEPS) / "state"
    assert {path.name for path in parts.glob("ocdbt.process_*")} == {
        "ocdbt.process_0",
        "ocdbt.process_1",
    }
    assert len(list(workdir.glob("events.*"))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others_and_the_same_command_continues(
    straight, environment, tmp_path, victim
):
    """kill -9 of the process that coordinates the others, and of another one."""
    workdir = tmp_path / "run"
    arguments = [*TRAIN, "--workdir", workdir]
    saved = Checkpoints(workdir / "checkpoints")
    with Together(arguments, environment, tmp_path) as together:
        deadline = time.monotonic() + 300
        while not saved.steps():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        together.children[victim].kill()
        began = time.monotonic()
        code = together.children[1 - victim].wait(timeout=2 * SOON)
        print(f"the other one ended after {time.monotonic() - began:.1f} s")
    said = together.said(1 - victim).splitlines()
    assert code == processes.LOST
    assert time.monotonic() - began < SOON
    assert said[-1] == f"jaxgan: {processes.lost('train', connected=True)}"
    assert saved.steps()[-1] != STEPS
    resumed = Together(arguments, environment, tmp_path).finish()
    assert f"resuming {workdir} at step" in resumed[0]
    assert_equal(workdir, straight[0], STEPS)
    steps = [row["step"] for row in read_metrics(workdir)]
    assert steps == [row["step"] for row in read_metrics(straight[0])]


@pytest.mark.slow
def test_sigterm_to_one_process_stops_all_with_a_checkpoint(environment, tmp_path):
    workdir = tmp_path / "run"
    endless = ["--config.train.steps=1000000", "--config.train.checkpoint_every=1000000"]
    with Together([*TRAIN, *endless, "--workdir", workdir], environment, tmp_path) as together:
        deadline = time.monotonic() + 300
        while not read_metrics(workdir):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        together.children[1].send_signal(signal.SIGTERM)
        codes = [child.wait(timeout=SOON) for child in together.children]
    assert codes == [128 + signal.SIGTERM] * 2, together.said(0)
    (step,) = Checkpoints(workdir / "checkpoints").steps()
    assert f"jaxgan: stopped at step {step:,} with a checkpoint; run" in together.said(0)


@pytest.mark.slow
def test_sigterm_to_one_process_that_measures_ends_all(straight, environment, tmp_path):
    command = ["evaluate", "--workdir", straight[0], "--num", 100_000_000]
    with Together(command, environment, tmp_path, program=("-c", OPENING)) as together:
        deadline = time.monotonic() + 300
        while "opened" not in together.said(1):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        together.children[1].send_signal(signal.SIGTERM)
        codes = [child.wait(timeout=SOON) for child in reversed(together.children)]
    assert codes == [128 + signal.SIGTERM, processes.LOST]
    assert together.said(1).splitlines()[-1] == "jaxgan: ended by SIGTERM"
    assert (
        together.said(0).splitlines()[-1] == f"jaxgan: {processes.lost('evaluate', connected=True)}"
    )


@pytest.mark.slow
def test_a_run_moves_between_processes_and_meshes(straight, environment, tmp_path):
    workdir = tmp_path / "run"

    def until(steps, fsdp):
        changes = [f"--config.train.steps={steps}", f"--config.train.fsdp={fsdp}"]
        return [*TRAIN, "--workdir", workdir, *changes]

    Together(until(10, 2), environment, tmp_path).finish()  # 2 x 2
    assert_equal(workdir, straight[0], 10)
    alone(until(20, 1), environment, 1)
    alone(until(30, 8), environment, 8)  # 1 x 8
    Together(until(40, 2), environment, tmp_path).finish()
    for step in (20, 30, 40):
        assert_close(workdir, straight[0], step)


@pytest.mark.slow
def test_a_process_that_fails_alone_ends_the_others(environment, tmp_path):
    """One machine lacks the data, say."""
    wrong = (
        "import sys; from jaxgan.cli.main import main\n"
        "if sys.argv[-1] == '1': sys.argv[1:1] = ['train', '--config.data.modes=-3']; del sys.argv[3]\n"
        "sys.exit(main())"
    )
    arguments = [*TRAIN, "--workdir", tmp_path / "run"]
    with Together(arguments, environment, tmp_path, program=("-c", wrong)) as together:
        codes = [child.wait(timeout=200) for child in together.children]
    assert codes == [processes.LOST, 2]
    assert "--config.data.modes is -3, but it must be at least 1" in together.said(1)


def test_processes_that_do_not_find_each_other_stop_waiting(environment, tmp_path):
    """Nobody listens at the address of process 0."""
    program = "from jaxgan.cli import main, processes; processes.CONNECT = 2; raise SystemExit(main.main())"
    address = f"127.0.0.1:{free_port()}"
    among = ["--distributed", address, "--processes", "2", "--process", "1"]
    command = [sys.executable, "-c", program, "evaluate", "--protocol", "list", *among]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == processes.LOST
    assert done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert "the processes did not find each other within 2 seconds" in last
    assert "--distributed HOST:PORT --processes N --process I" in last


def test_without_a_cluster_the_address_is_asked_for(environment):
    command = [sys.executable, "-m", "jaxgan", "evaluate", "--protocol", "list", "--distributed"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert done.stderr.startswith("jaxgan: JAX finds no cluster here: ")
    assert len(done.stderr.splitlines()) == 1
    assert processes.GIVE in done.stderr
    way_out = [f"127.0.0.1:{free_port()}", "--processes", "1", "--process", "0"]
    done = subprocess.run(
        [*command, *way_out], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "quick" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--processes=2"], "--processes and --process need the address of process 0: give --dis"),
        (["--process=0"], "--processes and --process need the address of process 0: give --dis"),
        (["--distributed=host"], "--distributed is host, but it must be the host and a free port"),
        (["--distributed=:80"], "--distributed is :80, but it must be the host and a free port"),
        (["--distributed=host:0"], "--distributed is host:0, but it must be"),
        (["--distributed=host:65536"], "--distributed is host:65536, but it must be"),
        (["--distributed=host:80"], "--processes is missing: give --distributed HOST:PORT"),
        (["--distributed=host:80", "--processes=2"], "--process is missing: give --distributed"),
        (
            ["--distributed=host:80", "--processes=2", "--process=2"],
            "--process is 2 and --processes 2, but the processes are numbered from 0 to N - 1: give",
        ),
        (["--distributed=host:80", "--processes=2", "--process=-1"], "--process is -1 and"),
    ],
)
def test_incomplete_arguments_are_refused(capsys, arguments, sentence):
    assert main(["train", *arguments]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"jaxgan: {sentence}")
