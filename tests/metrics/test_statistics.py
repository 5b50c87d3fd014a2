import os
import warnings

import numpy as np
import pytest

from jaxgan.metrics.moments import Moments
from jaxgan.metrics.statistics import cached, key
from jaxgan.metrics.summary import Needs, Summary

_MOMENTS = Needs(frozenset(["features"]))
_BOTH = Needs(frozenset(["features"]), frozenset(["features"]))
_FACTS = {"data": "abc", "split": "train", "num": 40}


class _Maker:
    """Makes what is needed of fixed features, and counts how often."""

    def __init__(self):
        self.calls = []
        self.features = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
        self.labels = np.arange(40, dtype=np.int32) % 4

    def __call__(self, needs):
        self.calls.append(needs)
        return Summary(
            40,
            np.dtype(np.uint8),
            {name: Moments.of(self.features) for name in needs.moments},
            {name: self.features for name in needs.arrays},
            self.labels if needs.arrays else None,
        )


def test_makes_once_and_keeps_every_bit(tmp_path):
    make = _Maker()
    first = cached(tmp_path / "new" / "folder", _FACTS, _BOTH, make)
    again = cached(tmp_path / "new" / "folder", dict(reversed(_FACTS.items())), _BOTH, make)
    assert make.calls == [_BOTH]
    assert (again.count, again.dtype) == (40, np.uint8)
    for name in ("mean", "scatter"):
        one, two = (getattr(s.moments["features"], name) for s in (first, again))
        assert one.tobytes() == two.tobytes()
        assert two.dtype == np.float64
    assert again.moments["features"].count == 40
    assert again.arrays["features"].tobytes() == make.features.tobytes()
    assert again.labels.tolist() == make.labels.tolist()


@pytest.mark.parametrize(
    "change", [{"data": "abd"}, {"split": "test"}, {"num": 41}, {"resize": "clean"}]
)
def test_any_other_fact_is_another_entry(tmp_path, change):
    make = _Maker()
    cached(tmp_path, _FACTS, _MOMENTS, make)
    cached(tmp_path, _FACTS | change, _MOMENTS, make)
    assert len(make.calls) == 2
    assert key(_FACTS) != key(_FACTS | change)


def test_what_is_missing_is_made_and_what_was_there_stays(tmp_path):
    make = _Maker()
    cached(tmp_path, _FACTS, _MOMENTS, make)
    arrays = Needs(arrays=frozenset(["features"]))
    cached(tmp_path, _FACTS, arrays, make)
    assert make.calls == [_MOMENTS, _BOTH]
    cached(tmp_path, _FACTS, _MOMENTS, make)
    cached(tmp_path, _FACTS, arrays, make)
    assert len(make.calls) == 2


def test_a_damaged_entry_is_made_again_with_a_warning(tmp_path):
    make = _Maker()
    cached(tmp_path, _FACTS, _MOMENTS, make)
    (entry,) = tmp_path.iterdir()
    entry.write_bytes(entry.read_bytes()[:100])
    with pytest.warns(UserWarning, match=r"cannot be read .* computed again"):
        cached(tmp_path, _FACTS, _MOMENTS, make)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cached(tmp_path, _FACTS, _MOMENTS, make)
    assert len(make.calls) == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_does_no_harm(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.warns(UserWarning, match="cannot be cached in"):
        assert cached(tmp_path / "x", _FACTS, _MOMENTS, _Maker()).count == 40


def test_a_file_in_the_folders_place_does_no_harm(tmp_path):
    (tmp_path / "x").write_text("")
    with pytest.warns(UserWarning, match="cannot be cached in"):
        assert cached(tmp_path / "x", _FACTS, _MOMENTS, _Maker()).count == 40


def test_an_interrupted_save_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        cached(tmp_path, _FACTS, _MOMENTS, _Maker())
    assert list(tmp_path.iterdir()) == []
