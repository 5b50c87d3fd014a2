import numpy as np
import pytest

from jaxgan.metrics.drift import statistics_drift


def _batches(rng, num=20, size=64):
    """Statistics of batches of two layers, of 16 and of 4 channels."""
    layers = {"a": rng.normal(2, 3, size=(num, size, 16)), "b": rng.normal(size=(num, size, 4))}
    return [{n: (x[i].mean(0), x[i].var(0)) for n, x in layers.items()} for i in range(num)]


def _running(**of_b):
    running = {"a": (np.full(16, 2.0), np.full(16, 9.0)), "b": (np.zeros(4), np.ones(4))}
    if of_b:
        running["b"] = (np.full(4, of_b.get("mean", 0.0)), np.full(4, of_b.get("var", 1.0)))
    return running


def test_true_statistics_and_those_of_one_batch_are_green():
    alarms = 0
    for seed in range(40):
        batches = _batches(np.random.default_rng(seed))
        assert statistics_drift(_running(), batches).verdict == "green"
        alarms += statistics_drift(batches[0], batches[1:]).verdict != "green"
    # One batch is the farthest of 20 in each of four statistics with chance 1/20.
    assert alarms / 40 < 0.4


@pytest.mark.parametrize(
    ("of_b", "verdict"),
    [({"mean": 0.5}, "red"), ({"var": 2.0}, "red"), ({"var": 0.5}, "red"), ({}, "green")],
)
def test_a_layer_that_drifts_is_named(of_b, verdict):
    found = statistics_drift(_running(**of_b), _batches(np.random.default_rng(0), size=512))
    assert found.verdict == verdict
    assert found.numbers["drifted"] == (["b"] if of_b else [])
    if "mean" in of_b:
        assert found.numbers["mean_deviation_largest"] == pytest.approx(0.5, abs=0.02)
        assert "of 1 of 2 layers (b most)" in found.sentence
    if "var" in of_b:
        assert found.numbers["variance_deviation_largest"] == pytest.approx(np.log(2), abs=0.03)


def test_a_small_drift_that_is_sure_is_amber():
    found = statistics_drift(_running(mean=0.1), _batches(np.random.default_rng(1), size=5000))
    assert found.verdict == "amber"
    assert "The difference is small" in found.sentence


def test_a_network_without_batch_statistics_is_told_so():
    found = statistics_drift({}, [])
    assert found.verdict == "green"
    assert "has no running batch statistics" in found.sentence


def test_refuses():
    batches = _batches(np.random.default_rng(2))
    with pytest.raises(ValueError, match="fresh has 3 batches; at least 5 are needed"):
        statistics_drift(_running(), batches[:3])
    with pytest.raises(
        ValueError, match=r"layers \['a', 'b'\], but the running statistics \['a'\]"
    ):
        statistics_drift({"a": _running()["a"]}, batches)
