"""The command that measures a device, rehearsed on a CPU; its runner, with steps that misbehave; its page."""

import functools
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import chips
import input_speed
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import results_table
import round_speed
from numbers_only import Numbers
from on_device_steps import playing, results, resume, rewrites, runner, table, timing, trajectory
from on_device_steps.runner import Settings, Step

from jaxgan.engine import Engine
from jaxgan.game import Game, Loss, Output, Player, Stage, Turn
from jaxgan.spec import Field, Spec

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
FACTS = {
    "device": "a device",
    "platform": "cpu",
    "versions": {},
    "commit": "0",
    "command": "",
    "size": "tiny",
}
STATED = {"step", "part", "status", "seconds", "time", *FACTS}


# The command, rehearsed ---------------------------------------------------------------------------------------------


def measure(out, cache, *flags, **environment):
    """Runs the command as a person would; returns what it printed."""
    script = str(BENCHMARKS / "on_device.py")
    # One device, as in a shell.
    xla = os.environ["XLA_FLAGS"].replace("--xla_force_host_platform_device_count=8", "")
    child = subprocess.run(
        [sys.executable, script, "--out", str(out), "--cache", str(cache), *flags],
        # Threads of PyTorch that wait for each other, and threefry, take most of the time on a busy machine.
        env={
            **os.environ,
            "XLA_FLAGS": xla,
            "OMP_NUM_THREADS": "1",
            "JAX_DEFAULT_PRNG_IMPL": "unsafe_rbg",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    return child.stdout


# Two halves; the second one compiles for longer.
HALVES = (
    ("device", "configs", "trajectory", "resume", "features", "training"),
    ("speed_sngan", "speed_wgan_gp", "rewrites", "stylegan2"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(HALVES[0], id="sound"),
        pytest.param(HALVES[1], id="fast"),
    ],
)
def test_a_rehearsal_runs_every_step_and_the_next_one_none(steps, tmp_path, pytestconfig):
    assert sorted(step for half in HALVES for step in half) == sorted(table.NAMES)
    cache = pytestconfig.cache.mkdir("on_device")  # the next time, little need be compiled
    flags = ("--tiny", "--minutes", "10", "--only", ",".join(steps))
    measure(tmp_path, cache, *flags, JAXGAN_TEST_DATA="")
    lines = results.read(tmp_path / results.FILE)
    closed = {line["step"]: line for line in lines if line["part"] is None}
    assert list(closed) == [name for name in table.NAMES if name in steps]
    for step, line in closed.items():
        assert line["status"] == ("skipped" if step == "training" else "ok"), line
        found = {made["part"]: made["result"] for made in lines if made["step"] == step}
        CHECKS[step](found)
    for line in lines:
        assert line.keys() >= STATED
        assert (line["device"], line["platform"], line["size"]) == ("cpu", "cpu", "tiny")
        assert line["versions"]["jax"] == jax.__version__
        assert str(tmp_path) not in json.dumps(line)
    check_table(tmp_path, steps, lines)

    earlier = ("--earlier", str(tmp_path / results.FILE))
    printed = measure(tmp_path / "again", cache, *flags, *earlier, JAXGAN_TEST_DATA="")
    assert printed.count("done before") == len(set(steps) - {"training"})
    again = results.read(tmp_path / "again" / results.FILE)
    assert {line["step"] for line in again if line["part"]} == set(steps) & {"training"}


def check_device(found):
    assert found["machine"]["packages"]["jax"] == jax.__version__
    assert found["rates"]["float32_tflops"] > 0
    assert found["rates"]["float32_of_peak"] is None  # of a CPU


def check_configs(found):
    assert found["gan_mixture2d"]["made"] == {"samples": [4, 2]}
    assert found["gan_mixture2d"]["stages"]["0"]["turns"].keys() == {"critic", "generator"}


def check_trajectory(found):
    assert found.keys() == {"highest", "default", None}
    for precision in ("highest", "default"):
        distance = found[precision]["distance"]
        assert distance.keys() == {"params", "u", "metrics"}
        assert max(value for of in distance.values() for value in of.values()) < 1e-5


def check_resume(found):
    assert found["plain"]["bit_for_bit"]


def check_speed(found):
    result = found["float32 2"]
    assert ("torch" in result) == (find_spec("torch") is not None)
    assert result["jaxgan"]["images_per_second"] > 0
    assert result["jaxgan"]["gflop"] > 0
    assert result["jaxgan"]["utilisation"] is None


def check_rewrites(found):
    for distance in found["conv_avg_pool float32"]["distance"].values():
        assert distance.keys() == set(rewrites.FORMS)
        assert max(distance.values()) < 1e-5


def check_stylegan2(found):
    turns = {"critic", "r1", "generator", "path", "average", "round"}
    assert found["eager"]["ms"].keys() == turns
    assert ("torch" in found["eager"]["ms"]["round"]) == (find_spec("torch") is not None)


def check_features(found):
    assert found["cifar10_resnet20 32"]["pictures_per_second"]["jaxgan"] > 0
    assert found["frechet 16"]["jaxgan"]["value"] > 0


def check_training(found):
    assert "JAXGAN_TEST_DATA" in found["sngan_cifar10"]["reason"]


CHECKS = {
    "device": check_device,
    "configs": check_configs,
    "trajectory": check_trajectory,
    "resume": check_resume,
    "speed_sngan": check_speed,
    "speed_wgan_gp": check_speed,
    "rewrites": check_rewrites,
    "stylegan2": check_stylegan2,
    "features": check_features,
    "training": check_training,
}
# What the block of docs/results.md says of each step.
SAYS = {
    "device": r"Matrix products of 8192 rows reach \d+ TFLOP/s",
    "configs": r"1 of \d+ shipped configs",
    "trajectory": r"^\| highest \| [\d.e+-]+ \|",
    "resume": "leaves are the same bit for bit",
    "speed_sngan": r"^\| `sngan` \| float32 \| 2 \| [\d,]+ \|",
    "speed_wgan_gp": r"^\| `wgan_gp` \| float32 \| 2 \| [\d,]+ \|",
    "rewrites": r"^\| conv_avg_pool float32, second order \|",
    "stylegan2": r"StyleGAN2 at 8x8, batch 2, float32: [\d,]+ images/s",
    "features": "cifar10_resnet20 32",
}


def check_table(folder, steps, lines):
    """The block of these results, as if they were of full size."""
    file = folder / "on_device_cpu.jsonl"
    results.append(file, lines[0])
    assert results_table.on_device([file]) == results_table.NOTHING  # a rehearsal is no result
    for line in lines:
        results.append(file, {**line, "size": "full"})
    block = results_table.on_device([file])
    for step, text in SAYS.items():
        assert bool(re.search(text, block, re.MULTILINE)) == (step in steps), step


@pytest.mark.slow
def test_a_rehearsal_trains_where_the_data_are(tmp_path):
    if not os.environ.get("JAXGAN_TEST_DATA"):
        pytest.skip("JAXGAN_TEST_DATA, the folder of the data, is not set")
    flags = ("--tiny", "--minutes", "10", "--only", "training")
    measure(tmp_path, tmp_path / "cache", *flags)
    line, closing = results.read(tmp_path / results.FILE)
    assert closing["status"] == "ok", line
    assert line["result"]["steps"] == 4
    assert [point["step"] for point in line["result"]["curve"]] == [2, 4]
    assert all(point["fd_cifar10_resnet56"] > 0 for point in line["result"]["curve"])
    assert (tmp_path / "training_samples.png").stat().st_size > 0
    file = tmp_path / "on_device_cpu.jsonl"
    results.append(file, {**line, "size": "full"})
    assert "`fd_cifar10_resnet56` (no FID)" in results_table.on_device([file])


@pytest.mark.slow
@pytest.mark.parametrize("model", ["sngan", "wgan_gp"])
def test_a_round_plays_in_every_form_of_the_convolutions(model, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    times = rewrites.rounds(model, "float32", 0.1, batch=2, generator_width=8, critic_width=8)
    assert times.keys() == set(rewrites.FORMS)
    assert min(times.values()) > 0


def test_without_an_accelerator_only_a_rehearsal_runs(tmp_path):
    with pytest.raises(AssertionError, match="JAX sees only a CPU here; rehearse with --tiny"):
        measure(tmp_path / "out", tmp_path, "--minutes", "1")
    assert not (tmp_path / "out").exists()


# The runner, with steps that misbehave --------------------------------------------------------------------------------

UNRULY = """
import os, time

def parts(task):
    if task.options.get("raises"):
        raise RuntimeError("no parts")
    return task.options["parts"]

def run(part, task):
    if part == "raises":
        raise ValueError("as it should")
    if part == "needs a package":
        import surely_not_installed
    if part == "has a bug":
        import jaxgan.surely_not_there
    if part == "dies":
        os.write(2, b"last words")
        os.abort()
    if part == "hangs":
        time.sleep(1000)
    return {"part": part, "process": task.process}
"""


@pytest.fixture
def settings(tmp_path, monkeypatch):
    (tmp_path / "unruly.py").write_text(textwrap.dedent(UNRULY))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return Settings(tmp_path, tmp_path / "cache", time.time() + 60, FACTS)


def unruly(name, seconds=30.0, **more):
    parts = {"parts": more.pop("parts")} if "parts" in more else {"raises": True}
    return Step(name, "unruly", seconds, options=parts, **more)


def ended(settings, step):
    """{part: its line} of a step; part None closes it."""
    lines = results.read(settings.out / results.FILE)
    return {line["part"]: line for line in lines if line["step"] == step}


def test_whatever_a_part_does_is_recorded_and_the_others_run(settings):
    parts = ["a", "raises", "dies", "needs a package", "has a bug", "hangs", "z"]
    steps = (unruly("wild", parts=parts, part_seconds=1.5), unruly("after", parts=["b"]))
    assert runner.run(steps, settings) == {"wild": "error", "after": "ok"}
    lines = ended(settings, "wild")
    assert {part: line["status"] for part, line in lines.items()} == {
        "a": "ok",
        "raises": "error",
        "dies": "error",
        "needs a package": "skipped",
        "has a bug": "error",
        "hangs": "timeout",
        "z": "ok",
        None: "error",
    }
    assert all(line.keys() >= STATED for line in lines.values())
    error = lines["raises"]["error"]
    assert (error["type"], error["message"]) == ("ValueError", "as it should")
    assert 'raise ValueError("as it should")' in error["traceback"]
    assert lines["dies"]["error"]["message"] == "the process was ended by SIGABRT"
    assert "last words" in lines["dies"]["error"]["traceback"]
    reason = "needs the package surely_not_installed, which is not installed here."
    assert lines["needs a package"]["result"] == {"reason": reason}
    assert lines["hangs"]["error"]["message"] == "the part's 1.5 s were over"
    # Whoever died or hung was followed by another process.
    assert [lines[part]["result"]["process"] for part in ("a", "z")] == [0, 2]
    assert lines[None]["result"] == {
        "ok": 2,
        "skipped": ["needs a package"],
        "timeout": ["hangs"],
        "error": ["raises", "dies", "has a bug"],
    }
    assert "last words" in (settings.out / runner.STDERR).read_text()


def test_a_step_ends_at_its_bound_and_says_what_is_left(settings):
    start = time.time()
    steps = (unruly("long", seconds=2.0, parts=["a", "hangs", "z"]), unruly("after", parts=["b"]))
    assert runner.run(steps, settings) == {"long": "timeout", "after": "ok"}
    assert time.time() - start < 10
    lines = ended(settings, "long")
    assert lines["hangs"]["status"] == "timeout"
    assert lines["hangs"]["error"]["message"] == "the step's 2 s were over"
    assert lines[None]["result"] == {"ok": 1, "timeout": ["hangs"], "left": ["z"]}


def test_a_step_that_cannot_list_its_parts_or_be_imported_is_an_error(settings):
    steps = (unruly("none"), Step("lost", "on_device_steps.not_there", 30.0))
    assert runner.run(steps, settings) == {"none": "error", "lost": "error"}
    assert ended(settings, "none")[None]["error"]["message"] == "no parts"
    assert ended(settings, "lost")[None]["error"]["type"] == "ModuleNotFoundError"


def test_a_process_that_does_not_even_start_is_an_error(settings, monkeypatch):
    monkeypatch.setattr(runner, "FOLDER", settings.out)  # where there is no script
    assert runner.run((unruly("gone", parts=["a"]),), settings) == {"gone": "error"}
    error = ended(settings, "gone")[None]["error"]
    assert error["message"] == "the process ended with exit status 2"
    assert "on_device.py" in error["traceback"]


def test_a_process_whose_parent_was_killed_ends_by_itself(settings):
    run = runner.Run(unruly("orphan", parts=["hangs"]), settings, 1.0, ())
    run.task.save(settings.out / "task.json")
    code = "import sys; from on_device_steps import worker; from on_device_steps.task import Task\n"
    code += "worker.GRACE = 0; worker.work(Task.load(__import__('pathlib').Path(sys.argv[1])))"
    child = subprocess.run(
        [sys.executable, "-c", code, str(settings.out / "task.json")],
        env=runner.environment(settings.cache),
        timeout=30,
    )
    assert child.returncode == -signal.SIGALRM


def test_the_command_takes_its_processes_along_when_it_is_ended(tmp_path):
    flags = ("--tiny", "--minutes", "5", "--only", "device")
    script = str(BENCHMARKS / "on_device.py")
    command = [sys.executable, script, "--out", str(tmp_path), "--cache", str(tmp_path), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "device: at most 120 s\n"
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        if not children.exists():
            parent.kill()
            pytest.skip("this system does not list the children of a process")
        deadline = time.time() + 10
        while not (pids := children.read_text().split()) and time.time() < deadline:
            time.sleep(0.01)
        parent.terminate()
        assert parent.wait(20) == 143
    assert len(pids) == 1
    assert not Path(f"/proc/{pids[0]}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_middle_of_a_start_leaves_no_process_behind(settings, monkeypatch, number):
    class Ended(BaseException): ...

    def end(*_):
        raise Ended

    started, popen = [], subprocess.Popen

    def start(*args, **kwargs):
        started.append(popen(*args, **kwargs))
        signal.raise_signal(number)
        return started[-1]

    monkeypatch.setattr(runner.subprocess, "Popen", start)
    before = signal.signal(number, end)
    try:
        with pytest.raises(Ended):
            runner.run((unruly("starting", parts=["hangs"]),), settings)
    finally:
        signal.signal(number, before)
    assert [process.poll() for process in started] == [-signal.SIGKILL]


def test_parts_may_have_names_that_no_file_can_have(settings):
    parts = [f"part {i}/{i}" for i in range(5)]
    assert runner.run((unruly("many", parts=parts),), settings) == {"many": "ok"}
    lines = results.read(settings.out / results.FILE)
    assert [line["part"] for line in lines if line["part"]] == parts


def test_a_second_run_does_only_what_did_not_end_well(settings):
    runner.run((unruly("first", parts=["a"]), unruly("wild", parts=["a", "raises"])), settings)
    begun = len(results.read(settings.out / results.FILE))
    steps = (unruly("first", parts=["a"]), unruly("wild", parts=["a", "raises", "new"]))
    assert runner.run(steps, settings) == {"first": "skipped", "wild": "error"}
    made = [(line["step"], line["part"]) for line in results.read(settings.out / results.FILE)]
    assert made[begun:] == [("first", None), ("wild", "raises"), ("wild", "new"), ("wild", None)]


@pytest.mark.parametrize("changed", [{"device": "another"}, {"size": "full"}])
def test_what_was_done_elsewhere_counts_for_nothing(changed):
    line = results.line(FACTS, "step", None, "ok", 1.0)
    assert results.done([line], FACTS) == {"step": {None}}
    assert results.done([line], {**FACTS, **changed}) == {}


def test_the_run_ends_in_its_minutes(settings):
    hurried = Settings(settings.out, settings.cache, time.time() + 3, FACTS)
    steps = (unruly("cut", parts=["hangs"], least=1.0), unruly("late", parts=["a"], least=20.0))
    assert runner.run(steps, hurried) == {"cut": "timeout", "late": "skipped"}
    assert 0 < time.time() - hurried.until < 1
    reason = ended(settings, "late")[None]["result"]["reason"]
    assert reason == "0 s were left, and it needs at least 20."


# Lines ------------------------------------------------------------------------------------------------------------


def test_a_line_that_was_cut_off_harms_no_other(tmp_path):
    file = tmp_path / results.FILE
    results.append(file, {"step": "a"})
    with file.open("a") as cut:
        cut.write('{"step": "b", "par')
    results.append(file, {"step": "c"})
    assert results.read(file) == [{"step": "a"}, {"step": "c"}]


def test_numbers_of_every_kind_become_json():
    given = {1: np.float32(0.1), "nan": float("nan"), "shape": (2, np.int64(3)), "on": np.bool_(1)}
    line = results.line(FACTS, "step", "part", "ok", 1.0, given)
    assert line["result"] == {"1": 0.1, "nan": "nan", "shape": [2, 3], "on": True}
    json.dumps(line, allow_nan=False)


def test_folders_of_the_machine_stay_out_of_the_lines():
    text = f'File "{ROOT}/jaxgan/game.py"\nFile "/a/b/lib/python3.12/site-packages/jax/api.py"'
    assert results.without_folders(text) == 'File "jaxgan/game.py"\nFile "jax/api.py"'


# What the steps compute ---------------------------------------------------------------------------------------------


def test_distances_are_relative_and_the_largest_of_all_players():
    there = {
        "round/0/params/critic": np.array([3.0, 4.0]),
        "round/0/params/generator": np.array([1.0, 0.0]),
        "leaf/step": np.array(1),
    }
    here = {
        **there,
        "round/0/params/critic": np.array([3.0, 4.5]),
        "round/0/params/generator": np.array([1.0, 0.2]),
    }
    assert trajectory.compare(here, there) == {"distance": {"params": {"0": pytest.approx(0.2)}}}


def test_leaves_are_compared_bit_for_bit():
    whole = {"a": np.float32([1.0, np.nan]), "b": np.float32([3.0, 4.0])}
    same = {name: leaf.copy() for name, leaf in whole.items()}
    assert resume.compare(whole, same) == {"leaves": 2, "different": 0, "bit_for_bit": True}
    found = resume.compare(whole, {**same, "b": np.float32([3.0, 4.5])})
    assert not found["bit_for_bit"]
    assert (found["different"], found["worst"], found["distance"]) == (1, "b", pytest.approx(0.1))
    with pytest.raises(ValueError, match="the leaves differ"):
        resume.compare(whole, {"a": whole["a"]})


@pytest.mark.parametrize(("name", "convolutions"), [("conv_avg_pool", 1), ("upsample_conv", 4)])
def test_each_form_of_a_rewrite_is_traced_as_such(name, convolutions):
    """A convolution that enlarges takes four small ones on a CPU, and one anywhere else."""
    x, kernel = jnp.ones((2, 4, 4, 3)), jnp.ones((3, 3, 3, 5))
    programs = {
        form: jax.jit(getattr(rewrites.functions(form), name)).lower(x, kernel).as_text()
        for form in rewrites.FORMS
    }
    counts = {form: text.count("stablehlo.convolution") for form, text in programs.items()}
    assert counts == {"plain": 1, "default": 1, "cpu": convolutions}
    assert programs["plain"] != programs["default"]


def test_the_last_stage_is_entered_at_its_first_round():
    def loss(play):
        return Loss(jnp.square(play.networks["a"].params["w"]))

    def enter(state, play):
        return state.replace(params={"a": {"w": state.params["a"]["w"] + 10.0}})

    player = Player(Numbers(w=jnp.float32(1.0)), (), optax.sgd(0.0))
    turns = (Turn(("a",), loss),)
    stages = (Stage(turns, 2, until=7), Stage(turns, 4, enter=enter))
    outputs = {"samples": Output(lambda play: jnp.zeros((play.num, 1)), (1,))}
    engine = Engine(Game({"a": player}, stages, outputs, Spec({"image": Field("points", (1,))}, 8)))
    batches = [{"image": np.zeros((stage.batch_size, 1), np.float32)} for stage in stages]
    state, compiled, _ = playing.prepare(engine, {1: batches[1]})
    assert compiled.keys() == {1}
    state, first = playing.enter(engine, state, 1)
    state, times, metrics = playing.play(engine, state, first, 3, iter([batches[1]] * 3))
    assert (first, len(times), int(state.step)) == (7, 3, 10)
    assert metrics["a/loss"] == 121.0


def test_a_share_of_the_peak_is_said_of_known_devices_only():
    assert chips.find("NVIDIA H100 80GB HBM3").bfloat16 == 989.4e12
    assert chips.find("NVIDIA H100 PCIe").float32 == 378e12
    assert chips.find("TPU v5 lite").float32 == 197e12
    assert chips.find("TPU v5").float32 == 459e12
    assert chips.utilisation(1e12, 0.01, "NVIDIA H100", "bfloat16") == pytest.approx(
        1e14 / 989.4e12
    )
    assert chips.utilisation(1e12, 0.01, "cpu", "bfloat16") is None


def test_a_peer_that_fails_is_said_and_no_error():
    def missing():
        importlib.import_module("surely_not_installed")

    def fails():
        raise RuntimeError("no kernel")

    assert timing.peer(lambda: 1) == (1, "")
    assert timing.peer(missing) == (
        None,
        "the package surely_not_installed is not installed here.",
    )
    assert timing.peer(fails) == (None, "RuntimeError: no kernel")


def test_the_training_run_says_which_file_is_missing(tmp_path, monkeypatch):
    from on_device_steps import Skipped, training

    monkeypatch.setenv("JAXGAN_TEST_DATA", str(tmp_path))
    with pytest.raises(Skipped, match=r"has no cifar10/cifar10_jpeg_train\.npz"):
        training.find_files()


def test_a_timer_ends_a_training_run():
    from on_device_steps import training

    with pytest.raises(TimeoutError, match="before the first round"), training.stopping(0.1):
        time.sleep(10)
    with training.stopping(None):
        pass


def test_every_config_has_its_turn_on_the_device():
    from on_device_steps import configs

    from jaxgan import config

    parts = configs.parts(SimpleNamespace(tiny=False))
    assert sorted(parts) == list(config.names())
    assert set(configs.CHANGES) <= set(parts)
    for name, changes in configs.CHANGES.items():
        config.load(name, changes)


# Pages --------------------------------------------------------------------------------------------------------------


def test_the_page_of_results_shows_them():
    text = results_table.PAGE.read_text()
    for name, (block, files) in results_table.BLOCKS.items():
        made = block(list(results_table.RESULTS.glob(f"{name}_{files}")))
        assert f"<!-- {name}: begin -->\n{made}\n<!-- {name}: end -->" in text
    assert results_table.on_device([]) == "Not yet run on a GPU or TPU."


def test_the_page_names_every_script_and_every_step_with_its_bound():
    page = (BENCHMARKS / "README.md").read_text()
    scripts = {path.name for path in BENCHMARKS.glob("*.py")}
    assert set(re.findall(r"`(\w+\.py)`", page)) >= scripts
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", page, re.MULTILINE))
    for step in table.STEPS:
        least = f"the rest, at least {step.least:.0f}"
        assert rows[step.name].strip() == (
            least if step.name == "training" else f"{step.seconds:.0f}"
        )


# A round beside PyTorch ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model", ["dcgan", *(pytest.param(m, marks=pytest.mark.slow) for m in ("sngan", "wgan_gp"))]
)
def test_a_twin_has_the_parameters_of_the_game_and_plays_it(model):
    pytest.importorskip("torch")
    width = {"generator_width": 4, "critic_width": 4}
    _, number = round_speed.jaxgan_player(round_speed.jaxgan_engine(model, 2, **width))
    play, parameters = round_speed.torch_player(model, 2, width=4)
    assert parameters == number
    gflop = round_speed.counted({"round": play}, {"round": 1.0})
    assert gflop > 1e-3


def test_a_round_is_the_sum_of_its_turns_by_their_shares():
    plays = []

    def contestant(name, seconds):
        def play(turn):
            plays.append((name, turn))
            time.sleep(seconds)

        turns = {turn: functools.partial(play, turn) for turn in ("critic", "r1")}
        return round_speed.Contestant(turns, {"critic": 1.0, "r1": 0.25}, 1, 1.0)

    players = {"a": contestant("a", 0.004), "b": contestant("b", 0.008)}
    found = round_speed.measure(players, 3)
    assert found["a"]["ms"] >= 5.0
    assert found["b"]["least_ms"] >= 10.0
    timed = plays[8:]  # after warming up
    assert timed == [(name, turn) for turn in ("critic", "r1") for _ in range(3) for name in "ab"]


def test_the_tables_of_rounds():
    of = {"ms": 10.0, "images_per_second": 1600.0, "peak_mib": 100.0}
    result = {
        "machine": {"device": "x86_64", "cores": 2, "python": "3.11", "jax": "0.10", "torch": "2",
                    "time": "2026-01-02T03:04:05", "batch": 16, "rounds": 9,
                    "peak_gflop_per_second": 200.0},
        "models": {"sngan": {"contestants": {
            "jaxgan": {**of, "gflop": 4.0, "utilisation": 0.5}, "torch": {**of, "ms": 20.0},
        }}},
    }  # fmt: skip
    rows = results_table.rounds_text(result).splitlines()
    assert rows[0].startswith("**x86_64, 2 cores** (Python 3.11, jax 0.10, torch 2; 2026-01-02)")
    assert rows[-2] == "| `sngan` | jaxgan | 1,600.0 | 1.00 | 4 | 50 % | 100 |"
    assert rows[-1] == "| `sngan` | torch | 1,600.0 | 0.50 |  |  | 100 |"


# The input ----------------------------------------------------------------------------------------------------------


class Told:
    """The other end of a contestant's pipe: asks for two epochs."""

    def __init__(self):
        self.answers, self.messages = [], [True, True, False]

    def recv(self):
        return self.messages.pop(0)

    def send(self, answer):
        self.answers.append(answer)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="pins processes to a core")
def test_input_speed_at_a_tiny_size(tmp_path, monkeypatch, capsys):
    from jaxgan.data import encoded

    monkeypatch.setattr(encoded, "CACHE_BYTES", encoded.CACHE_BYTES)  # is set by the contestants
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, cores: None)
    monkeypatch.setattr(input_speed, "find_spec", lambda name: None)  # without TensorFlow
    job = input_speed.Job(str(tmp_path), size=8, count=64, batch=16, shuffle=10, core=0)
    input_speed.write(job)
    found = {}
    for name in (input_speed.OURS, input_speed.IN_MEMORY):
        told = Told()
        input_speed.contest(name, job, told)
        ready, *found[name] = told.answers
        assert ready is None
        assert len(found[name]) == 2
        assert all(e.cpu > 0 and e.resident > 2**20 for e in found[name])
    input_speed.show(job, found)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:2] == ["8x8", "records"]
    assert lines[1].split()[-1] == "1.00"
    assert lines[-1].startswith("MiB in memory after each epoch of records: ")
