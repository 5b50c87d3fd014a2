import numpy as np
import pytest
from scipy import stats

from jaxgan.metrics.classes import assign_classes, class_shares


def test_assign_classes_is_a_vote_and_leaves_one_out():
    line = np.arange(6.0)[:, None] ** 1.1
    labels = np.array([0, 0, 1, 0, 1, 1])
    assert assign_classes(line, labels, line, k=1).tolist() == labels.tolist()
    assert assign_classes(line, labels, k=1).tolist() == [0, 0, 0, 1, 0, 1]
    # Two against one, whatever is nearest; a draw goes to the nearest.
    assert assign_classes(line, labels, line[2:3], k=3).tolist() == [0]
    assert assign_classes(line, labels, line[2:3], k=2).tolist() == [1]


@pytest.mark.parametrize("conditional", [False, True])
def test_shares_by_fishers_exact_test(conditional):
    rng = np.random.default_rng(0)
    real, fake = np.arange(400) % 4, np.arange(200) % 4
    seen = np.where((fake == 2) & (rng.random(200) < 0.4), 3, fake)
    labels = {"real_labels": real, "fake_labels": fake} if conditional else {}
    found = class_shares(real, seen, 4, **labels)
    numbers = np.bincount(seen, minlength=4)
    if conditional:
        tables = [[[100, 0], [hits, 50 - hits]] for hits in (50, 50, numbers[2], 50)]
        p = [stats.fisher_exact(table, alternative="greater").pvalue for table in tables]
    else:
        p = [stats.fisher_exact([[100, 300], [n, 200 - n]]).pvalue for n in numbers]
    assert found.evidence["sure"].tolist() == (np.array(p) < 0.001 / 4).tolist()
    assert found.evidence["sure"].any() == conditional
    if not conditional:
        statistic, chance, *_ = stats.chi2_contingency([[100] * 4, numbers])
        assert found.numbers["chi_square"] == pytest.approx(statistic)
        assert found.numbers["chi_square_p"] == pytest.approx(chance)


def test_missing_rare_and_different_are_told_apart():
    names = ("ant", "bee", "cow", "doe")
    real, fake = np.repeat(range(4), 1000), np.repeat(range(4), [20, 350, 1300, 1400])
    found = class_shares(real, fake, 4, names=names)
    assert found.verdict == "red"
    assert (found.numbers["missing"], found.numbers["rare"]) == (["ant"], ["bee"])
    assert found.numbers["different"] == ["cow", "doe"]
    assert "missing: 'ant'; rarer than half their share: 'bee'" in found.sentence
    assert found.evidence["names"].tolist() == list(names)
    less = class_shares(real, np.repeat(range(4), [700, 1000, 1000, 1000]), 4, names=names)
    assert (less.verdict, less.numbers["different"]) == ("amber", ["ant"])
    equal = class_shares(real, fake[::-1] * 0 + np.arange(len(fake)) % 4, 4)
    assert equal.verdict == "green"


def test_a_label_that_is_ignored_is_red_though_all_shares_agree():
    rng = np.random.default_rng(1)
    labels = np.arange(900) % 3
    drawn = rng.permutation(labels)  # classes in the right shares, whatever was asked for
    assert class_shares(labels, drawn, 3).verdict == "green"
    found = class_shares(labels, drawn, 3, real_labels=labels, fake_labels=labels)
    assert found.verdict == "red"
    assert found.numbers["rare"] == ["0", "1", "2"]
    assert found.sentence.startswith("Labels that do not give their class")


def test_a_poor_classifier_is_said():
    rng = np.random.default_rng(2)
    labels = np.arange(600) % 2
    guess, fake = (np.where(rng.random(600) < 0.6, labels, 1 - labels) for _ in range(2))
    found = class_shares(guess, fake, 2, real_labels=labels, fake_labels=labels)
    assert found.verdict == "green"
    assert found.numbers["classifier_accuracy"] == (guess == labels).mean()
    assert "classify only" in found.sentence


def test_false_alarms_are_rarer_than_alpha():
    alarms = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        shares = rng.dirichlet(np.ones(20))
        real, fake = rng.choice(20, 2000, p=shares), rng.choice(20, 500, p=shares)
        alarms += class_shares(real, fake, 20, alpha=0.05).verdict != "green"
    assert alarms / 300 < 0.08


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"fake_labels": np.zeros(9, int)},
            "fake_labels are compared with real_labels; give real_labels too",
        ),
        ({"names": ("one",)}, "there are 2 classes, but 1 names"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        class_shares(np.arange(9) % 2, np.arange(9) % 2, 2, **arguments)


def test_refuses_classes_beyond_their_number():
    with pytest.raises(ValueError, match="num_classes = 2, but the classes go up to 2"):
        class_shares(np.arange(9) % 3, np.arange(9) % 2, 2)


@pytest.mark.parametrize("which", ["real_classes", "fake_classes", "real_labels", "fake_labels"])
@pytest.mark.parametrize("wrong", [np.full(9, -1), np.zeros(9), np.zeros((9, 1), int)])
def test_refuses_what_are_no_classes(which, wrong):
    names = ("real_classes", "fake_classes", "real_labels", "fake_labels")
    given = dict.fromkeys(names, np.arange(9) % 2)
    with pytest.raises(ValueError, match=f"{which} must be 9 whole numbers of at least 0"):
        class_shares(**{**given, which: wrong}, num_classes=2)
    class_shares(**given, num_classes=2)
