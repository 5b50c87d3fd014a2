import numpy as np
import pytest
import scipy.special

from jaxgan.metrics.inception_score import inception_score


def _by_definition(p):
    """exp(mean KL(p(y|x) || p(y)))."""
    return np.exp(np.mean(np.sum(scipy.special.rel_entr(p, p.mean(axis=0)), axis=1)))


def test_is_the_definition():
    logits = 2 * np.random.default_rng(0).normal(size=(103, 7))
    p = scipy.special.softmax(logits, axis=1)
    parts = [p[:25], p[25:51], p[51:77], p[77:]]  # i 103 // 4
    expected = [_by_definition(part) for part in parts]
    for outputs, kind in ((logits, "logits"), (p, "probabilities")):
        found = inception_score(outputs, 4, kind=kind)
        assert found == pytest.approx((np.mean(expected), np.std(expected)), rel=1e-12)


def test_blocks_do_not_matter():
    logits = np.random.default_rng(1).normal(size=(9001, 3)).astype(np.float32)
    p = scipy.special.softmax(logits.astype(np.float64), axis=1)
    assert inception_score(logits, 1).mean == pytest.approx(_by_definition(p), rel=1e-12)


def test_a_mode_collapse_scores_1_and_all_classes_their_number():
    assert inception_score(np.tile([[9.0, 0, 0]], (20, 1))) == pytest.approx((1, 0), abs=1e-12)
    sure = 1000 * np.eye(5)  # so sure that other probabilities underflow
    assert inception_score(np.tile(sure, (4, 1)), 4) == pytest.approx((5, 0))


def test_sorted_pictures_need_a_shuffle():
    sorted_by_class = np.repeat(50 * np.eye(10), 30, axis=0)
    assert inception_score(sorted_by_class).mean == pytest.approx(1)
    assert inception_score(sorted_by_class, shuffle_seed=0).mean > 8


def test_order_is_only_within_splits():
    logits = np.random.default_rng(2).normal(size=(60, 4))
    whole = inception_score(logits, 1)
    assert inception_score(logits, 1, shuffle_seed=3).mean == pytest.approx(whole.mean, rel=1e-12)


@pytest.mark.parametrize(
    ("outputs", "how", "message"),
    [
        (np.zeros(5), {}, r"features must have shape \[N, D\], .* not outputs \[5\]"),
        (np.zeros((5, 3)), {}, "5 pictures cannot be cut into splits = 10 parts"),
        (np.zeros((5, 3)), {"splits": 0}, "splits = 0 must be at least 1"),
        (np.full((5, 3), np.nan), {"splits": 1}, "5 of 5 rows of outputs contain NaN or Inf"),
        (np.zeros((5, 3)), {"splits": 1, "kind": "p"}, "kind is 'p'; outputs are 'logits' or"),
        (
            np.full((5, 3), 0.5),
            {"splits": 1, "kind": "probabilities"},
            "sums lie between 1.5 and 1.5; use kind='logits'",
        ),
        (
            np.array([[1.5, -0.5]]),
            {"splits": 1, "kind": "probabilities"},
            "at least 0 and each row must sum to 1, but the least is -0.5",
        ),
    ],
)
def test_refuses(outputs, how, message):
    with pytest.raises(ValueError, match=message):
        inception_score(outputs, **how)
