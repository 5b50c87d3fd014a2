"""Divergence: which signs count, and that a run which is rolled back goes on as one."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from counting import QUICK, SOURCE, counting_game, quietly

from jaxgan import config
from jaxgan.options import OptionError
from jaxgan.train import Checkpoints, Diverged, guard, loop, read_metrics, train
from jaxgan.train.guard import RollBack

BACK = guard.Options(on_divergence="roll_back")
OPTIONS = dataclasses.replace(QUICK, log_every=1, checkpoint_every=3, guard=BACK)


def steep(w, clock, most=10.0):
    """Gradient descent with rate 1 doubles |w - 1|, and with rate 1/2 it halves it; beyond `most` there is NaN."""
    del clock
    return jnp.where(jnp.abs(w - 1) > most, jnp.nan, 1.5) * (w - 1) ** 2


def steps(workdir):
    return [row["step"] for row in read_metrics(workdir)]


def test_a_run_that_diverges_goes_on_from_its_checkpoint_with_half_the_rate(tmp_path):
    said = []
    result = train(counting_game(steep), SOURCE, tmp_path, OPTIONS, log=said.append)
    reason = "critic/loss became NaN or infinite at step 4"
    assert said == [
        f"{reason}; rolled back to step 3",
        f"resuming {tmp_path} at step 3, learning rates x 0.5",
    ]
    (rolled,) = guard.read(tmp_path)
    assert result.rolled == (rolled,)
    assert (rolled.to, rolled.quantity, rolled.reason, rolled.factor) == (
        3,
        "critic/loss",
        reason,
        0.5,
    )
    assert rolled.date.startswith("20")
    # w - 1 is -1, then multiplied three times by -2 and 17 times by -1/2.
    assert float(result.state.params["critic"]["w"]) == 1 - 8 / 2**17
    assert steps(tmp_path) == list(range(1, 21))
    assert all(np.isfinite(list(row.values())).all() for row in read_metrics(tmp_path))


class Killed(BaseException):
    """As a kill: nothing is saved, and nobody catches it."""


@pytest.mark.parametrize("at", [3, *(pytest.param(at, marks=pytest.mark.slow) for at in (4, 5, 8))])
def test_a_run_that_is_killed_after_a_roll_back_ends_as_one_that_is_not(tmp_path, monkeypatch, at):
    straight = train(counting_game(steep), SOURCE, tmp_path / "straight", OPTIONS, log=quietly)
    rolled = []
    write, advance = guard.write, loop.Progress.advance

    def written(workdir, records):
        write(workdir, records)
        rolled.append(records)
        if at == 3:  # right after the roll-back was written down
            raise Killed

    def killed(self, step):
        advance(self, step)
        if rolled and step == at:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(guard, "write", written)
        patch.setattr(loop.Progress, "advance", killed)
        with pytest.raises(Killed):
            train(counting_game(steep), SOURCE, tmp_path / "killed", OPTIONS, log=quietly)
    result = train(counting_game(steep), SOURCE, tmp_path / "killed", OPTIONS, log=quietly)
    for one, other in zip(
        jax.tree.leaves(straight.state), jax.tree.leaves(result.state), strict=True
    ):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
    assert len(result.rolled) == 1
    assert steps(tmp_path / "killed") == steps(tmp_path / "straight") == list(range(1, 21))


def test_after_the_allowed_roll_backs_the_run_stops_and_says_how_to_go_on(tmp_path):
    """The checkpoint lies behind the point of no return, so no rate helps."""
    options = dataclasses.replace(OPTIONS, checkpoint_every=4)
    with pytest.raises(Diverged) as raised:
        train(counting_game(steep), SOURCE, tmp_path, options, log=quietly)
    text = str(raised.value)
    assert text.startswith("critic/loss became NaN or infinite at step 4; the last good checkpoint")
    assert text.endswith(
        f"It was rolled back 3 times already (see {tmp_path}/rollbacks.json); to allow more, raise"
        " train.guard.roll_backs."
    )
    assert [one.to for one in guard.read(tmp_path)] == [4, 4, 4]
    assert Checkpoints(tmp_path / "checkpoints").steps() == [4]
    more = dataclasses.replace(options, guard=dataclasses.replace(BACK, roll_backs=4))
    with pytest.raises(Diverged, match="rolled back 4 times already"):
        train(counting_game(steep), SOURCE, tmp_path, more, log=quietly)


def test_without_a_checkpoint_there_is_nothing_to_roll_back_to(tmp_path):
    options = dataclasses.replace(OPTIONS, checkpoint_every=50)
    with pytest.raises(Diverged, match="no checkpoint was saved yet"):
        train(counting_game(steep), SOURCE, tmp_path, options, log=quietly)
    assert guard.read(tmp_path) == ()


def test_rounds_before_the_checkpoint_keep_their_rate(tmp_path):
    """Should an earlier checkpoint be restored, its rounds are played with their own rate."""
    train(
        counting_game(steep), SOURCE, tmp_path, dataclasses.replace(OPTIONS, steps=3), log=quietly
    )
    guard.write(tmp_path, [RollBack(5, "x", "y", 0.5), RollBack(7, "x", "y", 0.25)])
    options = dataclasses.replace(OPTIONS, steps=9)
    flat = counting_game(lambda w, clock: -w)  # each round adds the rate to w
    shape = loop.make_engine(flat, OPTIONS, 0).state_shape
    _, state = Checkpoints(tmp_path / "checkpoints").restore(shape)
    shape = loop.make_engine(flat, OPTIONS, 0).state_shape
    _, state = Checkpoints(tmp_path / "checkpoints").restore(shape)
    before = float(state.params["critic"]["w"])
    result = train(flat, SOURCE, tmp_path, options, log=quietly)
    assert float(result.state.params["critic"]["w"]) == before + 2 * 1 + 2 * 0.5 + 2 * 0.125


def test_the_optimiser_keeps_its_state_and_a_game_without_roll_backs_is_the_same_object():
    adam = counting_game(optimizer=optax.adam(1e-3))
    assert guard.slowed(adam, ()) is adam
    slower = guard.slowed(adam, [RollBack(0, "x", "y", 0.5)])
    params = {"w": jnp.float32(1)}
    one, other = (game.players["critic"].optimizer.init(params) for game in (adam, slower))
    assert jax.tree.structure(one) == jax.tree.structure(other)


def test_the_best_state_is_never_of_a_discarded_round(tmp_path):
    """A roll-back goes back to the step of the best evaluation at least."""
    from jaxgan.metrics.protocols import Protocol

    class Scored:
        protocol = Protocol("custom", ("fd",), num_fake=9)

        def __call__(self, engine, state, step):
            fd = {2: 1.0, 4: 0.5}.get(step, 2.0)
            return {"fd": fd, "protocol": {"num_fake": 9}, "measured": {"step": step}}

    options = dataclasses.replace(OPTIONS, checkpoint_every=50, evaluate_every=2)

    def wide(w, clock):
        return steep(w, clock, 20.0)

    result = train(counting_game(wide), SOURCE, tmp_path, options, log=quietly, evaluator=Scored())
    assert [one.to for one in result.rolled] == [4]
    assert Checkpoints(tmp_path / "best").steps() == [4]
    evaluated = [r["measured"]["step"] for r in result.evaluations]
    assert evaluated == [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]


# Signs ----------------------------------------------------------------------------------------------------


def test_a_gradient_beyond_its_bound_is_divergence(tmp_path):
    options = dataclasses.replace(OPTIONS, guard=guard.Options(most_gradient=20))
    text = r"^critic/grad_norm was 24, beyond train.guard.most_gradient=20, up to step 4; the last"
    with pytest.raises(Diverged, match=text):
        train(counting_game(steep), SOURCE, tmp_path, options, log=quietly)
    assert Checkpoints(tmp_path / "checkpoints").steps() == [3]
    # The way out: no bound.
    free = dataclasses.replace(options, guard=guard.Options(), steps=4)
    assert train(counting_game(steep), SOURCE, tmp_path, free, log=quietly).step == 4


def test_the_bound_on_logits_is_of_real_and_fake_alone():
    options = guard.Options(most_logit=5)
    assert (
        guard.beyond(options, {"critic/loss": 99.0, "critic/gap": 99.0, "critic/real": 5.0}) is None
    )
    name, clause = guard.beyond(options, {"critic_2/fake": -6.0})
    assert (name, clause) == (
        "critic_2/fake",
        "critic_2/fake was -6, beyond train.guard.most_logit=5,",
    )
    assert guard.beyond(guard.Options(), {"critic/real": math.inf}) is None


def test_separation_is_the_area_under_the_roc_curve_whatever_the_scale():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    real, fake = rng.normal(0.5, 1, 40).round(1), rng.normal(0, 1, 30).round(1)
    truth = np.r_[np.ones(40), np.zeros(30)]
    value = guard.separation_of(real, fake)
    assert value == pytest.approx(roc_auc_score(truth, np.r_[real, fake]), abs=1e-12)
    assert guard.separation_of(np.exp(real), np.exp(fake)) == value
    assert guard.separation_of(real + 9, fake) == 1


def test_wins_are_counted_from_the_latest_back():
    rows = [{"separation": value} for value in (1.0, 0.9, 1.0, 1.0)]
    assert guard.wins_in_a_row(rows) == 2
    assert guard.wins_in_a_row([*rows, {"critic/loss": 3.0}]) == 2
    assert guard.wins_in_a_row([]) == 0


def test_a_critic_that_wins_for_long_stops_the_run(tmp_path):
    """A generator that does not learn, of pictures that are nothing like digits: the critic tells all of them."""
    changes = [
        *("model.generator_width=8", "model.critic_width=16", "model.depth=1"),
        *("model.batch_size=32", "model.generator_learning_rate=1e-12"),
        *("model.critic_learning_rate=0.01", "train.guard.wins=2", "train.checkpoint_every=30"),
        *("train.steps=300", "train.sample_every=500", "train.devices=1", "train.grid=4"),
    ]
    cfg = config.load("gan_digits", changes)
    source = config.open_data(cfg)
    run = config.make_run(cfg, source.spec)
    with pytest.raises(
        Diverged,
        match="the critic told all real from all generated examples at 2 checkpoints up to",
    ):
        run.train(source, tmp_path, quietly)
    rows = [row for row in read_metrics(tmp_path) if "separation" in row]
    assert [row["separation"] for row in rows[-2:]] == [1, 1]
    assert all(0 <= row["separation"] <= 1 for row in rows)


# Options --------------------------------------------------------------------------------------------------


def test_a_rate_of_one_is_refused_since_it_would_replay_the_same(tmp_path):
    options = dataclasses.replace(OPTIONS, guard=dataclasses.replace(BACK, rate=1.0))
    text = (
        "train.guard.rate is 1.0, but a roll-back that leaves the learning rates as they are replays the same numbers"
        " to the same end: set train.guard.rate=0.5."
    )
    with pytest.raises(OptionError, match=text):
        train(counting_game(steep), SOURCE, tmp_path / "run", options, log=quietly)
    assert not (tmp_path / "run").exists()


def test_wins_need_a_critic_that_scores(tmp_path):
    options = dataclasses.replace(OPTIONS, guard=guard.Options(wins=2))
    with pytest.raises(
        OptionError, match=r"no critic that scores single samples: set train\.guard\.wins=0\."
    ):
        train(counting_game(), SOURCE, tmp_path / "run", options, log=quietly)


def test_damaged_roll_backs_are_told(tmp_path):
    guard.write(tmp_path, [RollBack(5, "x", "y", 0.5)])
    path = tmp_path / guard.FILE
    assert json.loads(path.read_text())[0]["to"] == 5
    path.write_text(path.read_text()[:20])
    with pytest.raises(
        ValueError, match=r"rollbacks\.json is damaged .*; restore it, or train into"
    ):
        train(counting_game(), SOURCE, tmp_path, OPTIONS, log=quietly)
    guard.write(tmp_path, [])
    train(counting_game(), SOURCE, tmp_path, OPTIONS, log=quietly)
