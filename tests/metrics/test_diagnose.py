"""Planted faults: the right diagnosis turns red for each, and the others stay green."""

import collections
import io
import os
from pathlib import Path

import numpy as np
import pytest
import threadpoolctl
from PIL import Image
from sklearn.datasets import load_digits

from jaxgan.metrics import extractor_for
from jaxgan.metrics.diagnose import diagnose

SEEDS = range(3)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Beside other processes, the threads of BLAS make products as small as these ten times slower."""
    with threadpoolctl.threadpool_limits(1):
        yield


class Digits:
    """A split of the digits into what is trained on, held out, and what honest generators draw from."""

    images, labels = load_digits(return_X_y=True)
    images = np.rint(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    extractor = extractor_for((8, 8, 1))
    known = np.asarray(extractor(images)["features"])

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        order = self.rng.permutation(len(self.labels))
        self.train, self.held_out, self.fresh = np.split(order, [1000, 1400])

    def diagnose(self, images, labels, mode="unconditional"):
        """{diagnosis: verdict} of generated pictures with the labels asked for."""
        found = diagnose(
            self.known[self.train],
            np.asarray(self.extractor(images)["features"]),
            None if mode == "nothing held out" else self.known[self.held_out],
            train_labels=None if mode == "unlabelled" else self.labels[self.train],
            fake_labels=labels if mode == "conditional" else None,
        )
        return {diagnosis.name: diagnosis.verdict for diagnosis in found}

    def noisy(self, chosen, deviation):
        """The chosen pictures with noise of so many of 256 levels, and their labels."""
        images = self.images[chosen] + self.rng.normal(0, deviation, (len(chosen), 8, 8, 1))
        return np.clip(np.rint(images), 0, 255).astype(np.uint8), self.labels[chosen]

    def few(self, of_each_class):
        """500 draws from a few pictures of each class, none of them trained on."""
        kept = [
            self.rng.choice(self.fresh[self.labels[self.fresh] == digit], of_each_class, False)
            for digit in range(10)
        ]
        return self.rng.choice(np.concatenate(kept), 500)

    def per_class_gaussian(self):
        """Draws from a Gaussian fitted to each class: a plain but honest generator."""
        pixels, labels = self.images[self.train].reshape(-1, 64), self.labels[self.train]
        asked = np.arange(500) % 10
        draws = np.empty((500, 64))
        for digit in range(10):
            members = pixels[labels == digit]
            law = members.mean(0), np.cov(members.T)
            draws[asked == digit] = self.rng.multivariate_normal(
                *law, size=50, check_valid="ignore"
            )
        return np.clip(np.rint(draws), 0, 255).astype(np.uint8).reshape(-1, 8, 8, 1), asked


def _reds(verdicts):
    return {name for name, verdict in verdicts.items() if verdict == "red"}


def _ambers(verdicts):
    return {name for name, verdict in verdicts.items() if verdict == "amber"}


MODES = ("unconditional", "conditional", "nothing held out", "unlabelled")


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("deviation", [0, 4, 10])
def test_a_generator_that_copies_training_pictures(seed, deviation):
    digits = Digits(seed)
    fakes = digits.noisy(digits.rng.choice(digits.train, 500), deviation)
    for mode in MODES if seed == 0 else MODES[:1]:
        verdicts = digits.diagnose(*fakes, mode)
        assert (_reds(verdicts), _ambers(verdicts)) == ({"memorisation"}, set()), mode


def test_a_generator_that_copies_one_in_five():
    digits = Digits(0)
    copies = digits.rng.choice(digits.train, 80)
    verdicts = digits.diagnose(*digits.noisy(np.concatenate([copies, digits.fresh[:320]]), 3))
    assert (_reds(verdicts), _ambers(verdicts)) == ({"memorisation"}, set())


@pytest.mark.parametrize("seed", SEEDS)
def test_a_generator_that_drops_three_classes(seed):
    digits = Digits(seed)
    dropped = digits.rng.choice(10, 3, replace=False)
    kept = digits.fresh[~np.isin(digits.labels[digits.fresh], dropped)]
    for mode in ("unconditional", "nothing held out"):
        verdicts = digits.diagnose(*digits.noisy(kept, 3), mode)
        assert (_reds(verdicts), _ambers(verdicts)) == ({"classes"}, set()), mode


def test_a_conditional_generator_that_ignores_its_labels():
    digits = Digits(0)
    images, labels = digits.noisy(digits.fresh, 3)
    verdicts = digits.diagnose(images, digits.rng.permutation(labels), "conditional")
    assert "classes" in _reds(verdicts)
    assert verdicts["memorisation"] == "green"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("of_each_class", [1, 3, 10])
def test_a_generator_that_collapses_inside_classes(seed, of_each_class):
    digits = Digits(seed)
    chosen = digits.few(of_each_class)
    for mode in MODES if seed == 0 else MODES[:1]:
        verdicts = digits.diagnose(*digits.noisy(chosen, 3), mode)
        assert _reds(verdicts) - {"classes"} == {"collapse"}, mode
        assert verdicts["memorisation"] == "green"
        # One of ten or thirty pictures may look like another class; more would be a false alarm.
        assert of_each_class == 1 or "classes" not in _reds(verdicts)


@pytest.mark.parametrize("seed", SEEDS)
def test_honest_generators(seed):
    digits = Digits(seed)
    for mode in MODES:
        verdicts = digits.diagnose(digits.images[digits.fresh], digits.labels[digits.fresh], mode)
        assert set(verdicts.values()) == {"green"}, mode
    assert not _reds(digits.diagnose(*digits.noisy(digits.fresh, 10)))
    assert not _reds(digits.diagnose(*digits.per_class_gaussian()))


@pytest.mark.slow
def test_false_alarms_are_rare():
    """50 honest draws, 300 diagnoses: at alpha = 0.001 a false alarm among them has a chance of a quarter."""
    count = collections.Counter()
    for seed in range(50):
        digits = Digits(100 + seed)
        fakes = digits.images[digits.fresh], digits.labels[digits.fresh]
        for mode in MODES[:2]:
            count.update(digits.diagnose(*fakes, mode).values())
    assert count["red"] == 0
    assert count["amber"] <= 2
    assert count["green"] >= 298


@pytest.fixture(scope="module")
def cifar10():
    """1,500 training pictures of the bit-exact CIFAR-10, and 1,000 test ones."""
    if "JAXGAN_TEST_DATA" not in os.environ:
        pytest.skip("JAXGAN_TEST_DATA names no folder with real data")
    folder = Path(os.environ["JAXGAN_TEST_DATA"]) / "cifar10"
    sets = {}
    for part in ("train", "test"):
        strip = Image.open(io.BytesIO((folder / f"cifar10_lossless_{part}.png").read_bytes()))
        sets[part] = np.asarray(strip).reshape(-1, 32, 32, 3)[:2500]
    return sets


@pytest.mark.slow
def test_copies_of_cifar10(cifar10):
    extractor = extractor_for((32, 32, 3))
    train, test = (
        np.asarray(extractor(x)["features"]) for x in (cifar10["train"], cifar10["test"])
    )
    rng = np.random.default_rng(0)
    copies = cifar10["train"][rng.choice(1500, 400)] + rng.normal(0, 3, (400, 32, 32, 3))
    copies = np.clip(np.rint(copies), 0, 255).astype(np.uint8)
    copies = np.asarray(extractor(copies)["features"])
    held_out, reals = test[:600], train[:1500]
    copied = diagnose(reals, copies, held_out)
    assert [d.verdict for d in copied] == ["red", "green"]
    honest = diagnose(reals, train[1500:], held_out)
    assert [d.verdict for d in honest] == ["green", "green"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"train_labels": np.zeros(7, int)}, r"train_labels must be 40 whole numbers .* not int64 \[7\]"),
        (
            {"train_labels": np.zeros(40, int), "fake_labels": np.zeros(3, int)},
            r"fake_labels must be 30 whole numbers .* not int64 \[3\]",
        ),
    ],
)  # fmt: skip
def test_refuses(labels, message):
    with pytest.raises(ValueError, match=message):
        diagnose(np.random.default_rng(0).normal(size=(40, 2)), np.zeros((30, 2)), **labels)
