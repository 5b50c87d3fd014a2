"""What can fail from outside, one test each: what happens, and that nothing is lost. `docs/faults.md` lists them."""

import ast
import dataclasses
import io
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from counting import QUICK, SOURCE, counting_game, quietly
from kill import CONFIGS, Command, Kill, differences, scalars
from PIL import Image
from processes import command_environment, one_device, run_processes
from tensorboard.compat.proto.event_pb2 import Event

from jaxgan import data
from jaxgan.data import ArraySource, Pipeline, array, pictures
from jaxgan.data.encoded import reason_of
from jaxgan.engine import Engine
from jaxgan.game import Loss, State
from jaxgan.train import Checkpoints, Diverged, events, loop, read_evaluations, read_metrics, train
from jaxgan.train.evaluation import EVALUATIONS, append_evaluation
from jaxgan.weights import load_file

ROOT = Path(__file__).parents[2]
EACH = dataclasses.replace(QUICK, log_every=1)


def run(workdir, options=QUICK, game=None, source=SOURCE, **more):
    return train(game or counting_game(), source, workdir, options, log=quietly, **more)


def checkpoints(workdir):
    return Checkpoints(workdir / loop.CHECKPOINTS)


def assert_whole(workdir, options=EACH):
    """The run ended, each step is logged once, also in TensorBoard's files, and the state is that of all rounds."""
    rows = read_metrics(workdir)
    assert [row["step"] for row in rows] == list(range(1, options.steps + 1))
    assert [row["critic/clock"] for row in rows] == list(range(options.steps))
    assert set(scalars(workdir).values()) == {1}
    assert {step for _, step in scalars(workdir)} == set(range(1, options.steps + 1))
    step, state = checkpoints(workdir).restore(Engine(counting_game()).state_shape)
    assert (step, float(state.params["critic"]["w"])) == (options.steps, options.steps)


# Checkpoints ----------------------------------------------------------------------------------------------


def noise(step):
    """A state of numbers that do not compress, whose wrong bits no file format notices."""
    w = jax.random.normal(jax.random.key(step), (200, 100))
    return State(jnp.int32(step), {"critic": {"w": w}}, {}, {}, {})


@pytest.mark.parametrize("how", ["a wrong bit", "truncated", "missing"])
def test_a_damaged_shard_of_a_checkpoint_costs_only_that_checkpoint(tmp_path, how):
    saved = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        saved.save(step, noise(step))
    saved.close()
    shard = max((tmp_path / "2").rglob("ocdbt.process_0/d/*"), key=lambda path: path.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "missing":
        shard.unlink()
    else:
        shard.write_bytes(content if how == "a wrong bit" else content[: len(content) // 2])
    shape = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), noise(1)
    )
    text = (
        "the checkpoint of step 2 .* cannot be read .its files are damaged or incomplete.; falling"
    )
    with pytest.warns(UserWarning, match=text):
        step, state = Checkpoints(tmp_path).restore(shape)
    assert step == 1
    np.testing.assert_array_equal(state.params["critic"]["w"], noise(1).params["critic"]["w"])
    with pytest.raises(OSError, match=r"there is that of step 1\.$"):
        Checkpoints(tmp_path).restore(shape, 2)


# The disk -------------------------------------------------------------------------------------------------

# In a mount namespace of its own, where a file system can be as small as one likes: root there is nobody outside. The
# filler leaves `free` KiB, so that each kind of file is the first that does not fit in one of the runs.
FULL = """
import json, os, subprocess, sys, warnings
from pathlib import Path
from test_faults import EACH, run, checkpoints
from jaxgan.train import read_metrics
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(root)], check=True)
found = {}
for free in map(int, sys.argv[2:]):
    workdir, filler = root / f"run{free}", root / "filler"
    workdir.mkdir()
    room = os.statvfs(root)
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - 1024 * free))
    try:
        result = run(workdir, EACH)
        said = ""
    except OSError as error:
        said = str(error)
    kept = checkpoints(workdir).steps()
    filler.unlink()
    result = run(workdir, EACH)
    steps = [row["step"] for row in read_metrics(workdir)]
    w = float(result.state.params["critic"]["w"])
    found[free] = {"said": said, "kept": kept, "steps": steps, "w": w}
    subprocess.run(["rm", "-r", str(workdir)], check=True)
print(json.dumps(found))
"""


@pytest.fixture
def in_namespace(tmp_path):
    """in_namespace(code, *arguments): what a program prints that may mount file systems on its first argument."""
    if (
        shutil.which("unshare") is None
        or subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this system does not let a program mount a file system of its own")
    folder = tmp_path / "mounted"
    folder.mkdir()

    def call(code, *arguments):
        child = subprocess.run(
            ["unshare", "-rm", sys.executable, "-c", code, str(folder), *arguments],
            env=dict(os.environ, JAX_PLATFORMS="cpu", XLA_FLAGS=one_device(), PYTHONPATH=PATHS),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert child.returncode == 0, child.stderr[-3000:]
        return folder, json.loads(child.stdout.splitlines()[-1])

    return call


PATHS = os.pathsep.join(str(ROOT / name) for name in ("", "tests", "benchmarks", "tests/train"))


@pytest.mark.slow
def test_a_full_disk_ends_the_run_in_a_sentence_and_room_lets_it_go_on(in_namespace):
    folder, found = in_namespace(FULL, "12", "64", "120")
    for one in found.values():
        where = "" if not one["kept"] else f"which continues from step {one['kept'][-1]}"
        assert re.search(
            rf"^(cannot write to the workdir {folder}/run\d+|a checkpoint cannot be written to {folder}/run\d+/checkp"
            r"oints) \(No space left on device\); make room there, and run the same again, which (starts|continues)",
            one["said"],
        ), one["said"]
        assert where in one["said"]
        assert (one["steps"], one["w"]) == (list(range(1, 21)), 20.0)


READ_ONLY = """
import dataclasses, json, subprocess, sys
from pathlib import Path
from test_faults import EACH, run
from jaxgan.train import read_metrics, workdir
root = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(root)], check=True)
run(root / "run", dataclasses.replace(EACH, steps=10))
said = []
subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True)
for attempt in (lambda: workdir.claim(root / "run", {}), lambda: run(root / "run", EACH)):
    try:
        attempt()
    except OSError as error:
        said.append(str(error))
subprocess.run(["mount", "-o", "remount,rw", str(root)], check=True)
w = float(run(root / "run", EACH).state.params["critic"]["w"])
print(json.dumps({"said": said, "w": w, "steps": [row["step"] for row in read_metrics(root / "run")]}))
"""


def test_a_read_only_workdir_is_told_before_anything_is_played(in_namespace):
    """A mount, since root may write to any file whatever its mode."""
    folder, found = in_namespace(READ_ONLY)
    cannot = f"cannot write to the workdir {folder}/run (Read-only file system); "
    assert found["said"] == [
        f"{cannot}choose another workdir.",
        f"{cannot}make it writable, and run the same again, which continues from step 10.",
    ]
    assert (found["w"], found["steps"]) == (20.0, list(range(1, 21)))


# The clock ------------------------------------------------------------------------------------------------


def test_a_clock_that_is_set_back_changes_no_rate_and_no_order(tmp_path, monkeypatch):
    """TensorBoard reads its files in the order of their names, which hold the time."""
    now = [time.time()]

    def earlier():
        now[0] -= 3600
        return now[0]

    monkeypatch.setattr(time, "time", earlier)
    run(tmp_path, dataclasses.replace(EACH, steps=12))
    run(tmp_path, EACH)
    rows = read_metrics(tmp_path)
    for row in rows:
        assert 0 < row["images_per_second"] < 1e9
        assert 0 <= row["data_wait"] <= 1
    paths = events.files(tmp_path)
    read = [Event.FromString(c).step for path in paths for _, c in events.records(path)]
    steps = [step for step in read if step > 0]
    assert len(paths) == 2
    assert steps == sorted(steps)
    assert_whole(tmp_path)


def test_no_duration_is_measured_by_the_clock_on_the_wall():
    """Only the entries of TensorBoard and of MLflow state the time of day."""
    found = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "jaxgan").rglob("*.py"))
        if "time.time()" in path.read_text()
    ]
    assert found == ["jaxgan/train/events.py", "jaxgan/train/loggers/mlflow.py"]


# NaN ------------------------------------------------------------------------------------------------------


def bad_picture():
    points = np.zeros((16, 2), np.float32)
    points[5] = np.nan
    return ArraySource(points, np.arange(16) % 7)


def bad_gradient(w, clock):
    """Finite, with the gradient of sqrt at 0 times 0 in round 7."""
    return -w + jnp.sqrt(jnp.where(clock == 7, 0.0, 1.0) + 0.0 * w)


def bad_u():
    """A game whose `u` is NaN after round 7; no loss depends on it."""
    game = counting_game()
    (stage,) = game.stages
    (turn,) = stage.turns

    def loss(play):
        out = turn.loss(play)
        critic = play.moving("critic")
        nan = jnp.where(critic["clock"]["n"] == 8, jnp.nan, 1.0)
        critic.set(spectral={"u": critic["spectral"]["u"] * nan})
        return Loss(*out)

    beside = {"clock": {"n": jnp.int32(0)}, "spectral": {"u": jnp.ones(3)}}
    critic = dataclasses.replace(game.players["critic"], collections=beside)
    stages = (dataclasses.replace(stage, turns=(dataclasses.replace(turn, loss=loss),)),)
    return dataclasses.replace(game, players={"critic": critic}, stages=stages)


def bad_moment():
    """An optimiser whose second moment overflows in round 7, with finite updates from then on."""

    def update(updates, state, params=None, *, clock, **unused):
        del params, unused
        moment = jnp.where(clock.step == 7, jnp.inf, state["v"])
        return jax.tree.map(jnp.negative, updates), {"v": moment}

    return optax.GradientTransformationExtraArgs(lambda params: {"v": jnp.float32(1)}, update)


@pytest.mark.parametrize(
    ("game", "source", "reason"),
    [
        pytest.param(
            counting_game(),
            bad_picture(),
            "critic/loss {}, as the field 'image' of its real batch is",
            id="batch",
        ),
        pytest.param(counting_game(bad_gradient), SOURCE, "critic/grad_norm {}", id="gradient"),
        pytest.param(bad_u(), SOURCE, "variables/critic/spectral/u {}", id="u"),
        pytest.param(
            counting_game(optimizer=bad_moment()), SOURCE, "opt_state/critic/v {}", id="moment"
        ),
    ],
)
def test_nan_anywhere_is_named_and_the_last_good_checkpoint_is_kept(tmp_path, game, source, reason):
    step = 7
    if source is not SOURCE:
        batches = (Pipeline(source, 0).batch(k, 4)["image"] for k in range(20))
        step = next(k for k, batch in enumerate(batches) if np.isnan(batch).any())
    when = f"before step {5 * (step // 5 + 1)}" if "/critic/" in reason else f"at step {step}"
    kept = [5] if step >= 5 else []
    with pytest.raises(Diverged) as raised:
        run(tmp_path, game=game, source=source)
    named, _, more = reason.partition(" {}")
    assert str(raised.value).startswith(f"{named} became NaN or infinite {when}{more}; ")
    assert checkpoints(tmp_path).steps() == kept
    assert ("is of step 5." in str(raised.value)) == bool(kept)


# Pictures and archives ------------------------------------------------------------------------------------


def claims(width, height):
    """A PNG of 70 bytes that claims to be of any size."""

    def chunk(kind, content):
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(10)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b"")


def comment(size):
    """A picture of one pixel with a compressed text of so many bytes."""
    start, end = claims(1, 1)[:33], claims(1, 1)[33:]
    body = b"zTXtkey\0\0" + zlib.compress(bytes(size))
    return (
        start + struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body)) + end
    )


TOO_LARGE = "more than 178,956,970 pixels, which Pillow does not open; save it smaller"
PROGRAM = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) (w) file\n"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"This is no picture.", "not a picture that Pillow can read", id="text"),
        pytest.param(claims(30_000, 30_000), TOO_LARGE, id="30,000x30,000"),
        pytest.param(claims(2**31 - 1, 2**31 - 1), TOO_LARGE, id="2^31"),
        pytest.param(comment(2**28), "decompressed data too large.*", id="comment"),
        pytest.param(
            PROGRAM, r"a program in PostScript \(EPS\), which is not run; save.*", id="EPS"
        ),
    ],
)
def test_a_picture_that_is_none_is_skipped_with_its_reason(tmp_path, content, reason):
    Image.new("L", (8, 8)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(content)
    source = data.open_source("folder", path=str(tmp_path))
    ((name, why),) = source.broken
    assert (len(source), name) == (1, "bad.png")
    assert re.fullmatch(reason, why), why
    for read in (pictures.decode, pictures.header):
        if read is pictures.header and "decompressed" in reason:
            continue
        with pytest.raises(Exception) as raised:  # noqa: PT011 - Pillow has no common type
            read(io.BytesIO(content))
        assert re.fullmatch(reason, reason_of(raised.value))
    assert not (Path.cwd() / "x").exists()


def png():
    buffer = io.BytesIO()
    Image.new("L", (8, 8)).save(buffer, format="PNG")
    return buffer.getvalue()


def npy():
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 8, 8), np.uint8))
    return buffer.getvalue()


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    """Neither what states its size nor what states a smaller one."""
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.png", png())
        archive.writestr("bomb.png", bytes(2**26))
        archive.writestr("liar.png", bytes(2**26))
    content = bytearray(path.read_bytes())
    # In the list of members, which is at the end, the size is 24 bytes after the signature.
    at = content.rindex(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(content)
    tracemalloc.start()
    source = data.open_source("folder", path=str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(source) == 1
    reasons = dict(source.broken)
    assert re.fullmatch(
        r"its [\d,]+ bytes in the zip would unpack to 67,108,864; save it.*", reasons["bomb.png"]
    )
    assert "liar.png" in reasons
    assert peak < 2**25


def test_arrays_that_would_fill_the_memory_are_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "set.npz"
    np.savez_compressed(path, images=np.zeros((1000, 32, 32), np.uint8))
    assert len(data.open_source("array", path=str(path))) == 1000
    monkeypatch.setattr(array, "memory", lambda: 500_000)
    text = r"its arrays take 1,024,\d+ bytes unpacked, and this machine has 500,000 bytes of memory; save"
    with pytest.raises(ValueError, match=text):
        data.open_source("array", path=str(path))
    np.save(tmp_path / "set.npy", np.zeros((1000, 32, 32), np.uint8))  # the way out
    assert len(data.open_source("array", path=str(tmp_path / "set.npy"))) == 1000


def tree(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["zip of pictures", "tar of pictures", "npz of arrays", "weights"])
def test_a_path_in_an_archive_leads_nowhere(tmp_path, kind):
    """Nothing is ever extracted: members are read in memory, and their names are names."""
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    names = ("../../x.png", "/x.png", "..\\..\\y.png", "sub/../../../z.png")
    if kind == "tar of pictures":
        path = inside / "set.tar"
        with tarfile.open(path, "w") as archive:
            for name in (*names, "images.png"):
                info = tarfile.TarInfo(name)
                info.size = len(png())
                archive.addfile(info, io.BytesIO(png()))
    else:
        path = inside / ("set.zip" if kind == "zip of pictures" else "set.npz")
        member, suffix = (png(), "png") if kind == "zip of pictures" else (npy(), "npy")
        with zipfile.ZipFile(path, "w") as archive:
            for name in (*names, "images.png"):
                archive.writestr(name.replace("png", suffix), member)
    before = tree(tmp_path)
    if kind.endswith("of pictures"):
        assert len(data.open_source("folder", path=str(path), labels=False)) == 1
    elif kind == "npz of arrays":
        assert len(data.open_source("array", path=str(path))) == 3
    else:
        tensors, _ = load_file(path)
        assert tensors["images"].shape == (3, 8, 8)
    assert tree(tmp_path) == before
    assert not any(Path("/", name).exists() for name in ("x.png", "x.npy"))


# Logs -----------------------------------------------------------------------------------------------------


def test_half_a_line_at_the_end_of_a_log_costs_no_row(tmp_path):
    """Of a run that was killed inside a write: neither that row nor the one after it is lost."""
    run(tmp_path, dataclasses.replace(EACH, steps=10))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "kimg": 0.0')
    (last,) = events.files(tmp_path)
    with last.open("ab") as file:
        file.write(struct.pack("<Q", 90) + b"half a record")
    (tmp_path / EVALUATIONS).write_text('{"fd": 1.0, "measured": {}}\n{"fd": 2.0, "meas')
    append_evaluation(tmp_path, {"fd": 3.0, "measured": {}})
    assert [result["fd"] for result in read_evaluations(tmp_path)] == [1.0, 3.0]
    run(tmp_path, EACH)
    assert_whole(tmp_path)
    assert [result["fd"] for result in read_evaluations(tmp_path)] == [1.0, 3.0]


def test_a_step_after_the_last_checkpoint_is_in_the_logs_once(tmp_path):
    """Of a run that was killed there: it plays these rounds again, and logs them again."""
    run(tmp_path, EACH)
    shutil.rmtree(checkpoints(tmp_path).directory / "20")
    assert run(tmp_path, EACH).step == 20
    assert_whole(tmp_path)


# Signals --------------------------------------------------------------------------------------------------


class Died(BaseException):
    """The usual effect of SIGTERM, in place of the end of this process."""


def die(number, frame):
    raise Died


@pytest.mark.parametrize("place", ["compile", "step", "save", "twice"])
def test_sigterm_at_any_moment_loses_no_checkpoint(tmp_path, monkeypatch, place):
    owner, name = {
        "compile": (jax.stages.Lowered, "compile"),
        "step": (Engine, "round"),
        "save": (Checkpoints, "save"),
        "twice": (Engine, "round"),
    }[place]
    function, calls, main = getattr(owner, name), [0], None

    def entered(*args, **options):
        calls[0] += 1
        if calls[0] == {"compile": 1, "save": 1}.get(place, 7):
            os.kill(os.getpid(), signal.SIGTERM)
            if place == "twice":
                time.sleep(0.1)  # until the first is handled: two of them at once count as one
                os.kill(os.getpid(), signal.SIGTERM)
        return function(*args, **options)

    before = signal.signal(signal.SIGTERM, die)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, entered)
            if place == "twice":
                with pytest.raises(Died):
                    run(tmp_path, EACH)
                assert checkpoints(tmp_path).steps() == [5]
            else:
                main = run(tmp_path, EACH)
        assert signal.getsignal(signal.SIGTERM) is die
    finally:
        signal.signal(signal.SIGTERM, before)
    if main is not None:
        assert main.stopped_by == signal.SIGTERM
        assert checkpoints(tmp_path).steps()[-1] == main.step < 20
    run(tmp_path, EACH)
    assert_whole(tmp_path)


@pytest.mark.slow
def test_sigterm_to_the_command_at_any_moment(tmp_path, cache_dir):
    """From outside, to a real process: it ends by itself with a checkpoint, or at once if there were two signals."""
    ours, theirs = (
        Command(tmp_path / name, CONFIGS["gan"], 200, 10, command_environment(cache_dir))
        for name in ("ours", "theirs")
    )
    theirs.run()
    for place, number, count in (
        ("compile", 1, 1),
        ("step", 27, 1),
        ("save", 2, 1),
        ("step", 9, 2),
    ):
        said, hit = ours.killed(Kill(place, number, 0.0, signal.SIGTERM, count))
        assert hit, said
        stopped = re.search(r"stopped at step \d+ with a checkpoint; run the same command", said)
        assert bool(stopped) == (count == 1), said
        assert "Traceback" not in said
    ours.run()
    # A stop ends a window of metrics, so there are rows between those of an uninterrupted run. None is of a step twice.
    assert differences(ours, theirs) == ["the rows of metrics differ"]


NOTICE = """
import os, signal, sys
import jax
port, index, workdir = sys.argv[1:]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", num_processes=2, process_id=int(index))
from counting import SOURCE, counting_game
from jaxgan.train import Checkpoints, Options, loop, train
advance = loop.Progress.advance
def noticed(self, step):
    advance(self, step)
    if index == "1" and step == 7:
        os.kill(os.getpid(), signal.SIGTERM)
every = dict(log_every=5, sample_every=10**6, checkpoint_every=10**6)
options = Options(steps=10**5, grid=4, **every)
loop.Progress.advance = noticed
result = train(counting_game(), SOURCE, workdir, options)
assert result.stopped_by == signal.SIGTERM and 7 <= result.step < 10**5
assert Checkpoints(f"{workdir}/checkpoints").steps() == [result.step]
loop.Progress.advance = advance
options = Options(steps=result.step + 10, grid=4, **every)
again = train(counting_game(), SOURCE, workdir, options)
assert again.step == result.step + 10 == float(again.state.params["critic"]["w"])
"""


@pytest.mark.slow
def test_a_notice_to_one_of_two_processes_stops_both_before_the_same_round(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", PATHS)
    run_processes(NOTICE, tmp_path)


# The document ---------------------------------------------------------------------------------------------


def test_the_document_lists_these_tests():
    text = (ROOT / "docs" / "faults.md").read_text()
    listed = re.findall(r"^\| `([\w/.]+\.py)::(\w+)` \|", text, re.MULTILINE)
    assert len(listed) == len(set(listed)) == text.count("::test_")
    for file in {file for file, _ in listed}:
        parsed = ast.parse((ROOT / "tests" / file).read_text())
        there = {node.name for node in ast.walk(parsed) if isinstance(node, ast.FunctionDef)}
        missing = {test for of, test in listed if of == file} - there
        assert not missing, f"{file} has no {missing}"
    here = {name for name in globals() if name.startswith("test_")}
    here.remove("test_the_document_lists_these_tests")
    assert {test for file, test in listed if file == "train/test_faults.py"} == here
