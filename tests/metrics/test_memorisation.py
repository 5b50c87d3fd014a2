import itertools

import numpy as np
import pytest

from jaxgan.metrics import memorisation as m
from jaxgan.metrics.memorisation import memorisation


def test_training_preference_has_the_law_of_all_splits():
    """Seven reals, three held out in each of the 35 ways, and fakes that crowd around some of them."""
    rng = np.random.default_rng(0)
    reals, fakes = (
        rng.normal(size=(7, 2)),
        np.repeat(rng.normal(size=(5, 2)), [1, 6, 2, 1, 3], axis=0),
    )
    distances = np.linalg.norm(fakes[:, None] - reals, axis=-1)
    shares, zs = [], []
    for held_out in itertools.combinations(range(7), 3):
        train = np.setdiff1d(range(7), held_out)
        to_train, to_held_out = distances[:, train], distances[:, list(held_out)]
        found = m.training_preference(
            to_train.min(1), to_train.argmin(1), to_held_out.min(1), to_held_out.argmin(1), 4, 3
        )
        assert found.share == np.isin(distances.argmin(1), train).mean()
        assert found.expected == 4 / 7
        shares.append(found.share)
        zs.append(found.z)
    assert len(set(shares)) > 3
    assert np.mean(shares) == pytest.approx(4 / 7)
    assert np.mean(zs) == pytest.approx(0, abs=1e-12)
    assert np.std(zs) == pytest.approx(1)


def test_training_preference_tells_the_share_that_is_memorised():
    rng = np.random.default_rng(1)
    real = rng.normal(size=(3000, 6))
    train, held_out = real[:2000], real[2000:]
    fake = np.concatenate([train[:300] + 1e-6, rng.normal(size=(700, 6))])
    numbers = memorisation(train, fake, held_out).numbers
    assert numbers["preference_memorised"] == pytest.approx(0.3, abs=0.05)
    assert numbers["preference_p"] < 1e-9
    assert numbers["near_copies"] == pytest.approx(0.3 + 0.7 * 0.01, abs=0.01)


def test_ties_are_nobodys_preference():
    found = m.training_preference([1.0, 1.0], [0, 1], [1.0, 1.0], [0, 1], 10, 10)
    assert (found.share, found.z, found.memorised) == (0.5, 0.0, 0.0)


def test_every_real_nearest_to_equally_many_says_nothing():
    found = m.training_preference([0.0, 9.0], [0, 0], [9.0, 0.0], [0, 0], 1, 1)
    assert (found.z, found.p) == (0.0, 0.5)


def test_mann_whitney_counts_pairs():
    rng = np.random.default_rng(2)
    for a, b in (
        (rng.normal(size=40), rng.normal(size=70) + 0.3),
        (rng.integers(9, size=25), rng.integers(9, size=30)),
    ):
        pairs = np.sum(a[:, None] > b) + 0.5 * np.sum(a[:, None] == b)
        m_n = len(a) * len(b)
        expected = (pairs - m_n / 2) / np.sqrt(m_n * (len(a) + len(b) + 1) / 12)
        assert m.mann_whitney_z(a, b) == pytest.approx(expected, rel=1e-12)
    assert m.mann_whitney_z([1.0], [2.0]) == pytest.approx(-0.5 / np.sqrt(3 / 12))


def test_c_t_weighs_cells_by_held_out_examples():
    rng = np.random.default_rng(3)
    fake, held_out = rng.random(100), rng.random(120)
    fake_cells, held_out_cells = (
        np.repeat([0, 1, 2], [40, 55, 5]),
        np.repeat([0, 1, 2], [70, 30, 20]),
    )
    first = m.mann_whitney_z(fake[:40], held_out[:70])
    second = m.mann_whitney_z(fake[40:95], held_out[70:100])
    found = m.data_copying(fake, held_out, fake_cells, held_out_cells)
    assert found == pytest.approx((70 * first + 30 * second) / 100)  # the third has five fakes
    assert np.isnan(m.data_copying(fake, held_out, np.full(100, 3), held_out_cells))


def test_cells_are_those_of_separate_clusters():
    rng = np.random.default_rng(4)
    centres = np.array([[0, 0], [10, 0], [0, 10], [9, 9]])
    which = rng.integers(4, size=200)
    points = centres[which] + 0.3 * rng.normal(size=(200, 2))
    ours, others = m.cells(points, centres, num=4)
    assert sorted(others) == [0, 1, 2, 3]
    np.testing.assert_array_equal(ours, others[which])
    # More cells than different examples.
    assert len(np.unique(m.cells(np.repeat(centres, 5, axis=0), num=9)[0])) == 4


def test_authentic_is_its_definition():
    rng = np.random.default_rng(5)
    train, fake = rng.normal(size=(60, 3)), rng.normal(size=(40, 3))
    to_train = np.linalg.norm(fake[:, None] - train, axis=-1)
    within = np.linalg.norm(train[:, None] - train, axis=-1)
    np.fill_diagonal(within, np.inf)
    expected = [d.min() > within[d.argmin()].min() for d in to_train]
    found = m.authentic(to_train.min(1), to_train.argmin(1), within.min(1))
    assert 0.2 < np.mean(expected) < 0.9
    np.testing.assert_array_equal(found, expected)
    assert memorisation(train, fake).numbers["authentic"] == np.mean(expected)


def test_without_a_held_out_set_copies_are_found_and_what_cannot_be_known_is_said():
    rng = np.random.default_rng(6)
    train = rng.normal(size=(800, 5))
    honest = memorisation(train, rng.normal(size=(400, 5)))
    assert honest.verdict == "green"
    assert "Without a held-out set" in honest.sentence
    assert honest.numbers["num_held_out"] == 0
    assert "preference_p" not in honest.numbers
    copied = memorisation(train, train[:400] + 1e-3 * rng.normal(size=(400, 5)))
    assert copied.verdict == "red"
    assert "No held-out set was given" in copied.sentence
    # Nine tenths of the way that the nearest other is off: few near copies, all of them unauthentic.
    within = np.sort(np.linalg.norm(train[:, None] - train, axis=-1), axis=1)[:, 1:2]
    step = rng.normal(size=train.shape)
    blurred = memorisation(
        train, train + 0.9 * within * step / np.linalg.norm(step, axis=1)[:, None]
    )
    assert blurred.verdict == "amber"
    assert "hold out part of the data to decide" in blurred.sentence


def test_a_small_and_certain_preference_is_amber():
    rng = np.random.default_rng(7)
    real = rng.normal(size=(7500, 3))
    train, held_out = real[:1500], real[1500:]
    # A few fakes are training examples moved farther than any near copy; the others are honest.
    step = rng.normal(size=(240, 3))
    moved = train[:240] + 0.1 * step / np.linalg.norm(step, axis=1, keepdims=True)
    fake = np.concatenate([moved, rng.normal(size=(4760, 3))])
    found = memorisation(train, fake, held_out)
    assert found.numbers["preference_p"] < 5e-4
    assert 0 < found.numbers["preference_memorised"] < 0.05
    assert found.verdict == "amber"
    assert "Slightly more fakes than expected" in found.sentence


def test_fakes_that_repeat_are_counted():
    rng = np.random.default_rng(8)
    train, fake = rng.normal(size=(100, 4)), rng.normal(size=(50, 4))
    fake[10:20] = fake[:10]
    fake[40:44] = train[:4]
    numbers = memorisation(train, fake, rng.normal(size=(60, 4))).numbers
    assert (numbers["repeated_fakes"], numbers["exact_copies"]) == (20 / 50, 4 / 50)


@pytest.mark.parametrize(
    ("train", "fake", "held_out", "message"),
    [
        ((30, 2), (30, 3), None, r"not train \[30, 2\], fake \[30, 3\]"),
        ((30, 2), (30, 2), (30, 1), r"held_out \[30, 1\]"),
        ((30, 2), (7, 2), None, "at least 20 examples of each kind, but fake has 7"),
        ((30, 2), (30, 2), (5, 2), "but held_out has 5"),
    ],
)
def test_refuses(train, fake, held_out, message):
    with pytest.raises(ValueError, match=message):
        memorisation(
            np.zeros(train), np.zeros(fake), None if held_out is None else np.zeros(held_out)
        )
