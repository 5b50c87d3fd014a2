"""The loop: what it writes, how it resumes, how it stops."""

import dataclasses
import shutil
import signal
import struct
import time
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from counting import QUICK, SOURCE, counting_game, quietly
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event

from jaxgan import config
from jaxgan.data import Pipeline
from jaxgan.engine import Engine
from jaxgan.metrics.protocols import Protocol
from jaxgan.train import Checkpoints, Diverged, Options, loop, read_metrics, sample, train, workdir

OPTIONS = Options(steps=6, log_every=2, sample_every=3, checkpoint_every=3, grid=4, devices=1)


def leaves(state):
    return {
        jax.tree_util.keystr(p): np.asarray(x)
        for p, x in jax.tree_util.tree_leaves_with_path(state)
    }


def assert_same_bits(a, b):
    a, b = leaves(a), leaves(b)
    assert a.keys() == b.keys()
    assert [name for name in a if a[name].tobytes() != b[name].tobytes()] == []


def checkpoints(workdir):
    return Checkpoints(workdir / loop.CHECKPOINTS)


# A real game: SN-GAN on digits has spectral vectors, batch statistics and averaged weights --------------------


def play_sngan(workdir, log=quietly, **changes):
    small = ["batch_size=8", "critic_steps=2", "generator_width=8", "critic_width=8"]
    more = ["ema_half_life_kimg=0.1", "generator_batch_multiple=2"]
    cfg = config.load("sngan_digits", [f"model.{change}" for change in (*small, *more)])
    source = config.open_data(cfg)
    game = config.make_run(cfg, source.spec).game
    return train(game, source, workdir, dataclasses.replace(OPTIONS, **changes), seed=3, log=log)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """Six rounds in one piece."""
    return play_sngan(tmp_path_factory.mktemp("straight"))


def test_a_run_ends_at_its_last_step_with_a_checkpoint_of_the_state_it_returns(straight):
    assert (straight.step, straight.stopped_by, int(straight.state.step)) == (6, None, 6)
    assert checkpoints(straight.workdir).steps() == [3, 6]
    step, saved = checkpoints(straight.workdir).restore(straight.engine.state_shape)
    assert step == 6
    assert_same_bits(saved, straight.state)


def test_metrics_have_a_row_per_window_and_at_each_checkpoint(straight):
    rows = read_metrics(straight.workdir)
    assert [row["step"] for row in rows] == [2, 3, 4, 6]
    # Two critic steps a round, each on eight pictures.
    assert [row["kimg"] for row in rows] == pytest.approx(
        [16 * step / 1000 for step in (2, 3, 4, 6)]
    )
    expected = {"critic/loss", "critic/real", "critic/fake", "critic/gap", "critic/grad_norm"}
    expected |= {"generator/loss", "generator/grad_norm"}
    expected |= {"images_per_second", "rounds_per_second", "data_wait"}
    for row in rows:
        assert row.keys() == expected | {"step", "kimg"}
        assert row["images_per_second"] == pytest.approx(16 * row["rounds_per_second"])
        assert np.isfinite(list(row.values())).all()


def test_a_row_states_the_share_of_the_time_that_was_spent_waiting_for_data(tmp_path, monkeypatch):
    batch = Pipeline.batch

    def slow(self, *args, **options):
        time.sleep(0.2)
        return batch(self, *args, **options)

    monkeypatch.setattr(Pipeline, "batch", slow)
    result = play_sngan(tmp_path, log_every=1)
    waits = [row["data_wait"] for row in read_metrics(result.workdir)]
    assert max(waits) > 0.5  # a round takes a few milliseconds, its batches 0.4 seconds
    assert all(0 <= wait <= 1 for wait in waits)


def test_the_rates_are_of_the_rounds_alone(tmp_path, monkeypatch):
    """The seconds of samples, checkpoints and evaluations belong to no window."""
    slow, clock = 1000.0, {"extra": 0.0}
    shown = SimpleNamespace(monotonic=lambda: time.monotonic() + clock["extra"])
    monkeypatch.setattr(loop, "time", shown)

    def slowly(function):
        def call(*args, **options):
            clock["extra"] += slow
            return function(*args, **options)

        return call

    monkeypatch.setattr(loop, "sample_grid", slowly(loop.sample_grid))
    monkeypatch.setattr(loop.Checkpoints, "save", slowly(loop.Checkpoints.save))
    result = play_sngan(tmp_path, log_every=1, sample_every=2, checkpoint_every=3)
    rows = read_metrics(result.workdir)
    assert clock["extra"] >= 4 * slow
    assert all(row["rounds_per_second"] > 1 / slow for row in rows)


def test_rows_are_means_over_their_window(straight, tmp_path):
    play_sngan(tmp_path, log_every=1)
    each = {row["step"]: row for row in read_metrics(tmp_path)}
    for row, window in zip(read_metrics(straight.workdir), ([1, 2], [3], [4], [5, 6]), strict=True):
        for name in ("critic/loss", "generator/grad_norm"):
            assert row[name] == pytest.approx(
                np.mean([each[step][name] for step in window]), rel=1e-6
            )


def events(workdir):
    """{(tag, step): value} of the TensorBoard files, record by record: length, checksum, event, checksum."""
    found = {}
    for path in sorted(workdir.glob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            (length,) = struct.unpack_from("<Q", data, at)
            event = Event.FromString(data[at + 12 : at + 12 + length])
            for value in event.summary.value:
                found[value.tag, event.step] = value.tensor.float_val[0]
            at += 16 + length
    return found


def test_tensorboard_events_hold_the_same_numbers(straight):
    rows = read_metrics(straight.workdir)
    expected = {(name, row["step"]): row[name] for row in rows for name in row if name != "step"}
    assert events(straight.workdir) == pytest.approx(expected, rel=1e-6)


def pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_grids_show_the_same_latents_as_training_goes_on(straight):
    grids = sorted((straight.workdir / loop.SAMPLES).iterdir())
    assert [path.name for path in grids] == ["00000000.png", "00000003.png", "00000006.png"]
    assert (pixels(straight.workdir / "samples.png") == pixels(grids[-1])).all()
    shown = loop.sample_grid(straight.engine, straight.state, 4)
    loop.report.save_grid(straight.workdir / "again.png", shown)
    assert (pixels(straight.workdir / "again.png") == pixels(grids[-1])).all()
    assert (pixels(grids[0]) != pixels(grids[1])).any()
    later = straight.state.replace(step=straight.state.step + 1)
    np.testing.assert_array_equal(loop.sample_grid(straight.engine, later, 4), shown)
    assert pixels(straight.workdir / "losses.png").shape[:2] == (320, 900)


def test_training_2n_is_training_n_and_then_n_bit_for_bit(straight, tmp_path):
    first = play_sngan(tmp_path, steps=3)
    state = leaves(first.state)
    for part in (
        "spectral",
        "batch_stats",
        ".ema",
        ".opt_state",
    ):  # that these are among what is compared
        assert any(part in name for name in state), part
    messages = []
    second = play_sngan(tmp_path, log=messages.append)
    assert messages == [f"resuming {tmp_path} at step 3"]
    assert_same_bits(second.state, straight.state)
    once, twice = read_metrics(straight.workdir), read_metrics(tmp_path)
    rates = ("images_per_second", "rounds_per_second", "data_wait")
    assert [{k: v for k, v in row.items() if k not in rates} for row in once] == [
        {k: v for k, v in row.items() if k not in rates} for row in twice
    ]
    for name in ("samples.png", "samples/00000006.png"):
        assert (straight.workdir / name).read_bytes() == (tmp_path / name).read_bytes()


def test_nothing_is_traced_again_after_the_first_round(straight):
    assert set(straight.engine.traces().values()) == {1}


def test_no_samples_cannot_be_asked_for(straight):
    with pytest.raises(ValueError, match="num is 0; ask for at least one sample"):
        sample(straight.engine, straight.state, 0)


def test_the_first_samples_of_many_are_those_of_few_and_averaged_weights_are_used(straight):
    few = sample(straight.engine, straight.state, 30, seed=1)
    many = sample(straight.engine, straight.state, 130, seed=1)
    assert few.keys() == {"image"}
    assert few["image"].dtype == np.uint8
    assert few["image"].shape == (30, 8, 8, 1)
    assert (many["image"][:30] == few["image"]).all()
    assert many["image"].shape[0] == 130
    assert (many["image"][100:130] != many["image"][:30]).any()
    assert (sample(straight.engine, straight.state, 30, seed=2)["image"] != few["image"]).any()
    assert (
        sample(straight.engine, straight.state, 30, seed=1, ema=False)["image"] != few["image"]
    ).any()


# A game that costs nothing, see `counting` -------------------------------------------------------------------


def test_a_finished_run_says_so_and_plays_nothing(tmp_path):
    game, messages = counting_game(), []
    train(game, SOURCE, tmp_path, QUICK, log=quietly)

    def files():
        paths = (path for path in tmp_path.rglob("*") if path.is_file())
        return {path: path.stat().st_mtime_ns for path in paths if path.name != workdir.LOCK}

    before = files()
    result = train(game, SOURCE, tmp_path, QUICK, log=messages.append)
    assert messages == [
        f"resuming {tmp_path} at step 20",
        f"{tmp_path} has already trained 20 of 20 steps; to go on, give more train.steps",
    ]
    assert (result.step, float(result.state.params["critic"]["w"])) == (20, 20.0)
    assert before == files()


@pytest.mark.parametrize(
    ("keep", "keep_every", "kept"),
    [(1, 0, [14]), (2, 0, [12, 14]), (3, 0, [10, 12, 14]), (1, 4, [4, 8, 12, 14])],
)
def test_keep_policy(tmp_path, keep, keep_every, kept):
    options = dataclasses.replace(
        QUICK, steps=14, checkpoint_every=2, keep=keep, keep_every=keep_every
    )
    train(counting_game(), SOURCE, tmp_path, options, log=quietly)
    assert checkpoints(tmp_path).steps() == kept


def test_rows_after_the_checkpoint_a_run_resumes_from_are_written_once(tmp_path):
    options = dataclasses.replace(QUICK, log_every=1)
    train(counting_game(), SOURCE, tmp_path, options, log=quietly)
    shutil.rmtree(
        tmp_path / loop.CHECKPOINTS / "20"
    )  # as if killed before the last save was finished
    train(counting_game(), SOURCE, tmp_path, options, log=quietly)
    rows = read_metrics(tmp_path)
    assert [row["step"] for row in rows] == list(range(1, 21))
    assert [row["critic/clock"] for row in rows] == list(range(20))


@pytest.fixture
def send(monkeypatch):
    """send(number, at): the process gets that signal right after round `at` - 1."""

    def arm(number, at):
        class Sending(loop.Progress):
            def advance(self, step):
                super().advance(step)
                if step == at:
                    signal.raise_signal(number)

        monkeypatch.setattr(loop, "Progress", Sending)

    return arm


@pytest.mark.parametrize(
    ("number", "at"),  # at: between two checkpoints, and right after one was begun
    [
        *((signal.SIGTERM, 7), (signal.SIGINT, 10)),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in ((signal.SIGTERM, 10), (signal.SIGINT, 7))
        ),
    ],
)
def test_a_signal_ends_the_round_with_a_checkpoint_and_the_next_run_continues(
    tmp_path, send, number, at
):
    handler, messages = signal.getsignal(number), []
    send(number, at)
    result = train(counting_game(), SOURCE, tmp_path, QUICK, log=messages.append)
    assert (result.step, result.stopped_by) == (at, number)
    assert messages == [f"{number.name}: ending the round and saving a checkpoint"]
    assert checkpoints(tmp_path).steps() == [5, at]
    assert [row["step"] for row in read_metrics(tmp_path)][-1] == at
    assert signal.getsignal(number) == handler

    send(number, -1)
    result = train(counting_game(), SOURCE, tmp_path, QUICK, log=quietly)
    assert (result.step, result.stopped_by) == (20, None)
    assert float(result.state.params["critic"]["w"]) == 20
    assert int(result.state.variables["critic"]["clock"]["n"]) == 20


def test_the_second_signal_acts_at_once(tmp_path, send, monkeypatch):
    send(signal.SIGINT, 7)
    monkeypatch.setattr(Checkpoints, "save", lambda *args: signal.raise_signal(signal.SIGINT))
    options = dataclasses.replace(QUICK, checkpoint_every=100)
    # A process that a shell starts in the background ignores Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(counting_game(), SOURCE, tmp_path, options, log=quietly)
    finally:
        signal.signal(signal.SIGINT, before)


def nan_at(step, value=jnp.nan):
    return lambda w, clock: jnp.where(clock == step, jnp.float32(value), 1.0) * (1.0 - w)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
@pytest.mark.parametrize("step", [0, 6, 9, 11])  # 9 is the last round before a checkpoint
def test_nan_stops_the_run_names_quantity_and_step_and_keeps_the_last_good_checkpoint(
    tmp_path, step, value
):
    kept = [s for s in (5, 10) if s <= step]
    good = (
        f"the last good checkpoint is of step {kept[-1]}" if kept else "no checkpoint was saved yet"
    )
    with pytest.raises(Diverged) as raised:
        train(counting_game(nan_at(step, value)), SOURCE, tmp_path, QUICK, log=quietly)
    assert str(raised.value).startswith(
        f"critic/loss became NaN or infinite at step {step}; {good}. Lower"
    )
    assert str(tmp_path / "metrics.jsonl") in str(raised.value)
    assert checkpoints(tmp_path).steps() == kept
    assert all(np.isfinite(list(row.values())).all() for row in read_metrics(tmp_path))
    for saved in kept:
        _, state = checkpoints(tmp_path).restore(Engine(counting_game()).state_shape, saved)
        assert all(np.isfinite(leaf).all() for leaf in leaves(state).values())


def test_nan_is_told_before_pictures_of_it_are_drawn(tmp_path):
    def pictures(w, num, labels):
        return jnp.full((num, 8, 8, 1), w)

    options = dataclasses.replace(QUICK, sample_every=8, log_every=100, checkpoint_every=100)
    with pytest.raises(
        Diverged, match="critic/loss became NaN or infinite at step 3; no checkpoint"
    ):
        train(counting_game(nan_at(3), samples=pictures), SOURCE, tmp_path, options, log=quietly)
    assert [path.name for path in (tmp_path / loop.SAMPLES).iterdir()] == ["00000000.png"]


def test_nan_that_no_metric_shows_is_never_saved(tmp_path):
    def update(updates, state, params=None, *, clock, **unused):
        return jax.tree.map(lambda u: jnp.where(clock.step == 9, jnp.nan, -u), updates), state

    optimizer = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    with pytest.raises(
        Diverged, match="params/critic/w became NaN or infinite before step 10; the last good"
    ) as e:
        train(counting_game(optimizer=optimizer), SOURCE, tmp_path, QUICK, log=quietly)
    assert "checkpoint is of step 5." in str(e.value)
    assert checkpoints(tmp_path).steps() == [5]


def test_nan_of_the_state_is_told_before_pictures_of_it_are_drawn(tmp_path):
    def update(updates, state, params=None, *, clock, **unused):
        return jax.tree.map(lambda u: jnp.where(clock.step == 9, jnp.nan, -u), updates), state

    def pictures(w, num, labels):
        return jnp.full((num, 8, 8, 1), w)

    optimizer = optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)
    game = counting_game(optimizer=optimizer, samples=pictures)
    options = dataclasses.replace(QUICK, sample_every=10)
    with pytest.raises(Diverged, match="params/critic/w became NaN or infinite before step 10"):
        train(game, SOURCE, tmp_path, options, log=quietly)
    assert [path.name for path in (tmp_path / loop.SAMPLES).iterdir()] == ["00000000.png"]


def test_after_nan_the_same_command_continues_from_the_last_good_checkpoint(tmp_path):
    with pytest.raises(Diverged):
        train(counting_game(nan_at(13)), SOURCE, tmp_path, QUICK, log=quietly)
    result = train(counting_game(), SOURCE, tmp_path, QUICK, log=quietly)
    assert result.step == 20
    assert [row["step"] for row in read_metrics(tmp_path)] == [4, 5, 8, 10, 12, 15, 16, 20]


class Scored:
    """An evaluator that gives each step the number listed for it, by a protocol of `num` examples."""

    def __init__(self, num, numbers):
        self.protocol = Protocol("custom", ("fd",), num_fake=num)
        self.numbers = numbers

    def __call__(self, engine, state, step):
        protocol = {"num_fake": self.protocol.num_fake}
        return {"fd": self.numbers[step], "protocol": protocol, "measured": {"step": step}}


def test_the_best_state_is_the_best_of_the_results_of_its_own_protocol(tmp_path):
    best, game = Checkpoints(tmp_path / loop.BEST), counting_game()
    for num, steps, numbers, expected in (
        (50, 4, {2: 1.0, 4: 2.0}, 2),
        (99, 10, {6: 4.0, 8: 3.0, 10: 3.0}, 8),  # the numbers of 50 examples are lower
    ):
        options = dataclasses.replace(QUICK, steps=steps, evaluate_every=2)
        train(game, SOURCE, tmp_path, options, log=quietly, evaluator=Scored(num, numbers))
        assert best.steps() == [expected]


def test_without_an_evaluator_there_is_one_of_the_options(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGAN_CACHE", str(tmp_path / "cache"))
    options = dataclasses.replace(QUICK, steps=2, evaluate_every=2, evaluate_num=8)
    (found,) = train(counting_game(), SOURCE, tmp_path / "run", options, log=quietly).evaluations
    protocol = found["protocol"]
    assert (protocol["features"], protocol["num_fake"], protocol["num_real"]) == ("points", 8, 8)


def test_labels_of_samples_are_balanced_and_are_what_the_generator_gets():
    def pictures(w, num, labels):
        return jnp.broadcast_to(
            labels.astype(jnp.float32)[:, None, None, None] / 8.0 - 0.5, (num, 8, 8, 1)
        )

    engine = Engine(counting_game(samples=pictures))
    assert engine.chunk_rows("samples") % 7  # a chunk does not begin with label 0
    drawn = sample(engine, engine.init(), 130)
    assert drawn["label"].tolist() == (np.arange(130) % 7).tolist()
    shown = np.round((drawn["image"][:, 0, 0, 0] / 127.5 - 1 + 0.5) * 8)
    assert shown.astype(int).tolist() == drawn["label"].tolist()


def test_options_below_their_least_value_are_refused(tmp_path):
    for name, value, least in (
        ("steps", 0, 1),
        ("log_every", 0, 1),
        ("keep", 0, 1),
        ("devices", -1, 0),
    ):
        options = dataclasses.replace(QUICK, **{name: value})
        text = (
            f"train.{name} is {value}, but it must be at least {least}: set train.{name}={least}."
        )
        with pytest.raises(ValueError, match=text):
            train(counting_game(), SOURCE, tmp_path, options, log=quietly)


@pytest.mark.parametrize(
    ("augment", "text"),
    [
        ({"flip": True}, "flip is true, but it mirrors pictures"),
        ({"jitter": 3}, "jitter is 3, but it crops pictures"),
    ],
)
def test_data_that_cannot_be_augmented_are_refused_before_anything_is_written(
    tmp_path, augment, text
):
    with pytest.raises(ValueError, match=text):
        train(counting_game(), SOURCE, tmp_path / "run", QUICK, log=quietly, **augment)
    assert not (tmp_path / "run").exists()


def test_a_result_shows_no_weights(tmp_path):
    result = loop.Result({"w": np.arange(1000)}, 3, None, tmp_path)
    assert repr(result).startswith("Result(step=3, workdir=")


def test_worker_processes_are_asked_of_the_pipeline(tmp_path, monkeypatch):
    asked, iterate = [], Pipeline.iterate

    def noting(self, *arguments, **options):
        asked.append(options)
        return iterate(self, *arguments, **options)

    monkeypatch.setattr(Pipeline, "iterate", noting)
    options = dataclasses.replace(QUICK, data_workers=2)
    train(counting_game(), SOURCE, tmp_path, options, log=quietly)
    assert asked == [{"workers": 2}]
