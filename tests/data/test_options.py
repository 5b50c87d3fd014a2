"""Opening a source by name, and what is said when the name or a value is wrong."""

import importlib
import re
import subprocess
import sys

import numpy as np
import pytest

from jaxgan.data import SOURCES, ArraySource, open_source


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_a_module_of_its_name(name):
    assert callable(importlib.import_module(f"jaxgan.data.{name}").source)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"name": "digit"},
            "unknown data source 'digit' (--config.data.name): did you mean 'digits'? "
            "Known: digits, stacked_digits, mixture2d, folder, array, pairs, picture, tfds",
        ),
        ({"name": "zzz"}, "unknown data source 'zzz' (--config.data.name): Known: digits, "),
        (
            {"channels": 4},
            "--config.data.channels=4: pictures have 1 channel (grey) or 3 (RGB); "
            "0 keeps what the set has",
        ),
        (
            {"resolution": -1},
            "--config.data.resolution=-1: give the side in pixels, or 0 to keep what the set has",
        ),
        (
            {"split": "tset"},
            "unknown split of digits 'tset' (--config.data.split): did you mean 'test'? "
            "Known: train, test, all",
        ),
        ({"name": "folder"}, "--config.data.path=PATH"),
        ({"name": "array"}, "--config.data.path=PATH"),
        ({"name": "tfds"}, "for example --config.data.tfds_name=cifar10"),
    ],
)
def test_wrong_options_are_named(options, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        open_source(DataOptions(**options))


def test_import_is_light():
    code = (
        "import sys, jaxgan.data; heavy = {'tensorflow', 'tensorflow_datasets', 'sklearn'}; "
        "sys.exit(' '.join(heavy & sys.modules.keys()) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


class TestSource:
    source = ArraySource(np.arange(10, dtype=np.uint8)[:, None], np.arange(10) % 3)

    def test_indexing_ends(self):
        assert [int(example["image"][0]) for example in self.source] == list(range(10))
        with pytest.raises(IndexError, match="example 10 of a source of 10"):
            self.source[10]

    def test_batches_cover_everything_once(self):
        batches = list(self.source.batches(4))
        assert [len(batch["image"]) for batch in batches] == [4, 4, 2]
        np.testing.assert_array_equal(
            np.concatenate([batch["label"] for batch in batches]), np.arange(10) % 3
        )
        assert batches[0]["label"].dtype == np.int32

    def test_images_are_spread_over_the_set(self):
        for one, part in zip(
            self.source.images(3)[:, 0], np.split(np.arange(10), [3, 6]), strict=True
        ):
            assert one in part
        assert self.source.images()[:, 0].tolist() == list(range(10))
        with pytest.raises(ValueError, match="11 images asked of a set of 10"):
            self.source.images(11)

    def test_what_is_gathered_may_be_written_to(self):
        self.source.gather(np.array([5]))["image"][:] = 0
        assert self.source[5]["image"] == 5
