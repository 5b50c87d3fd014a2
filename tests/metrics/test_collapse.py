import numpy as np
import pytest
import threadpoolctl

from jaxgan.metrics import collapse as c
from jaxgan.metrics.collapse import collapse


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Beside other processes, the threads of BLAS make products as small as these ten times slower."""
    with threadpoolctl.threadpool_limits(1):
        yield


def _prototypes(rng, count, num, dim, noise=0.01):
    return rng.normal(size=(count, dim))[rng.integers(count, size=num)] + noise * rng.normal(
        size=(num, dim)
    )


def test_spread_and_rank_are_those_of_the_covariance():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(50, 7)) * np.arange(1, 8)
    member = rng.random((50, 3)) < 0.4
    gram = points @ points.T
    spread, rank = c._spread_and_rank(gram, member.astype(float))
    for column in range(3):
        values = np.linalg.eigvalsh(np.cov(points[member[:, column]].T))
        assert spread[column] == pytest.approx(np.sqrt(values.sum()))
        assert rank[column] == pytest.approx(values.sum() ** 2 / np.square(values).sum())


def test_diversity_gives_equal_sets_every_p_equally_often():
    """The share of p below a level is that level, with sets of unequal sizes and heavy tails."""
    p = {"spread_p": [], "rank_p": []}
    for seed in range(150):
        rng = np.random.default_rng(seed)
        real, fake = rng.standard_t(5, size=(120, 10)), rng.standard_t(5, size=(40, 10))
        found = c.diversity(real, fake, rng, permutations=100)
        for name, values in p.items():
            values.append(found[name])
    for values in p.values():
        assert np.mean(np.array(values) < 0.1) == pytest.approx(0.1, abs=0.07)  # 3 standard errors
        assert np.mean(values) == pytest.approx(0.5, abs=0.07)
        assert min(values) > 1e-4


@pytest.mark.parametrize(("kept", "what"), [(8, "spread"), (1, "rank")])
def test_diversity_sees_less_spread_and_fewer_directions(kept, what):
    rng = np.random.default_rng(1)
    real = rng.normal(size=(200, 8))
    if what == "spread":
        fake = 0.6 * rng.normal(size=(150, 8))
    else:  # as wide, but nearly on a line
        fake = rng.normal(size=(150, 8)) * np.array([np.sqrt(8 - 7 * 0.04)] + 7 * [0.2])
    found = c.diversity(real, fake, rng)
    other = "rank" if what == "spread" else "spread"
    assert found[f"{what}_p"] < 1e-6
    assert found[f"{other}_p"] > 1e-3
    assert found[what] == pytest.approx(0.6 if what == "spread" else 1 / 8, rel=0.5)


def test_classes_that_collapse_are_named_and_others_are_not():
    rng = np.random.default_rng(2)
    real, fake = rng.normal(size=(600, 12)), rng.normal(size=(300, 12))
    real_classes, fake_classes = np.arange(600) % 3, np.arange(300) % 3
    fake[fake_classes == 1] = _prototypes(rng, 3, 100, 12)
    found = collapse(real, fake, real_classes, fake_classes, names=("cat", "dog", "owl"))
    assert found.verdict == "red"
    assert found.numbers["collapsed"] == ["dog"]
    assert found.numbers["classes"] == 3
    assert "in 1 of 3 classes ('dog')" in found.sentence
    assert found.evidence["classes"].tolist() == ["cat", "dog", "owl"]
    assert found.evidence["rank"][1] < 0.4 < 0.75 < min(found.evidence["rank"][[0, 2]])


def test_a_little_less_variety_is_amber():
    rng = np.random.default_rng(3)
    found = collapse(rng.normal(size=(900, 20)), 0.9 * rng.normal(size=(900, 20)))
    assert found.verdict == "amber"
    assert found.numbers["narrower"] == ["all examples"]
    assert "slightly but significantly less diversity than in the data" in found.sentence.lower()


def test_many_pictures_shown_again_and_again_are_found_by_repetition():
    """Eighty of them vary as the data do, in every covariance; but they return."""
    rng = np.random.default_rng(4)
    real, fake = rng.normal(size=(1000, 6)), _prototypes(rng, 80, 800, 6)
    found = collapse(real, fake)
    assert found.numbers["collapsed"] == []
    assert found.verdict == "red"
    assert found.numbers["repeats"] > 0.99
    assert "100% of the fakes are nearer to another fake" in found.sentence


def test_copies_of_training_examples_are_left_to_memorisation():
    rng = np.random.default_rng(5)
    real = rng.normal(size=(500, 6))
    fake = real[rng.integers(500, size=400)]
    assert collapse(real, fake).verdict == "red"
    found = collapse(real, fake, near_copies=np.ones(400, bool))
    assert found.verdict == "green"
    assert found.numbers["repeats"] == 0


def test_one_picture_only():
    rng = np.random.default_rng(6)
    found = collapse(rng.normal(size=(100, 6)), np.ones((60, 6)))
    assert found.verdict == "red"
    assert found.sentence.startswith("Far less diversity than in the data; 100% of the fakes")
    assert found.numbers["spread_median"] < 1e-3
    assert found.numbers["repeats_at_least"] == 1
    assert np.isfinite([v for v in found.numbers.values() if isinstance(v, float)]).all()


def test_classes_too_small_to_tell_are_named_and_all_are_taken_as_one():
    rng = np.random.default_rng(7)
    real, fake = rng.normal(size=(60, 3)), rng.normal(size=(12, 3))
    found = collapse(real, fake, np.arange(60) % 3, np.arange(12) % 3)
    assert found.verdict == "green"
    assert found.numbers["too_few_to_tell"] == ["0", "1", "2"]
    assert found.evidence["classes"].tolist() == ["all examples"]
    assert collapse(real, fake / 1000, np.arange(60) % 3, np.arange(12) % 3).verdict == "red"


def test_too_few_altogether_is_said():
    rng = np.random.default_rng(8)
    found = collapse(rng.normal(size=(60, 3)), rng.normal(size=(9, 3)))
    assert (found.verdict, found.numbers["classes"]) == ("green", 0)
    assert found.sentence.startswith("There are fewer than 10 real or generated examples")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (
            np.zeros(5, int),
            r"real_classes must be 30 whole numbers of at least 0, .* not int64 \[5\]",
        ),
        (np.zeros(30), r"not float64 \[30\]"),
        (np.full(30, -1), "whole numbers of at least 0"),
    ],
)
def test_refuses(classes, message):
    x = np.zeros((30, 2))
    with pytest.raises(ValueError, match=message):
        collapse(x, x, classes, np.zeros(30, int))
