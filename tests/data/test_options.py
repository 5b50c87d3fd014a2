"""Opening a source by name, and what is said when the name or a value is wrong."""

import importlib
import re
import subprocess
import sys

import numpy as np
import pytest

from jaxgan.data import SOURCES, ArraySource, digits, open_source, options_of
from jaxgan.options import OptionError, UnknownOption


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_a_module_of_its_name(name):
    module = importlib.import_module(f"jaxgan.data.{name}")
    assert callable(module.source)
    assert options_of(name) is module.Options


def test_sources_are_found_and_helpers_are_none():
    known = {"array", "digits", "folder", "mixture2d", "pairs", "picture", "stacked_digits", "tfds"}
    assert known <= set(SOURCES)
    assert not {"options", "source", "pipeline", "pictures", "encoded", "together"} & set(SOURCES)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            {"data": "digit"},
            f"data.name is 'digit', but it must be one of {', '.join(SOURCES)}: set data.name=digits.",
        ),
        ({"data": "zzz"}, "data.name is 'zzz', but it must be one of array, "),
        ({"channels": 4}, "channels is 4, but it must be one of 0, 1, 3: set channels=3."),
        ({"resolution": -1}, "resolution is -1, but it must be from 0 to 8192: set resolution=0."),
        (
            {"split": "tset"},
            "split is 'tset', but it must be one of train, test, all: set split=test.",
        ),
        ({"data": digits.Options(split="tset")}, "split is 'tset', but it must be one of"),
        ({"resolutoin": 8}, "there is no option resolutoin; did you mean resolution?"),
        ({"modes": 8}, "there is no option modes; there are "),
        ({"data": "folder"}, "path is empty, but it must name a folder or zip file"),
        ({"data": "array"}, "path is empty, but it must name a .npy or .npz file"),
        ({"data": "tfds"}, "tfds_name is empty, but it must name a set of TFDS: set tfds_name=cif"),
    ],
)
def test_wrong_options_are_named(options, text):
    options = {"data": "digits"} | options
    with pytest.raises(OptionError, match=re.escape(text)) as raised:
        open_source(**options)
    for fix in raised.value.fixes:
        if {"PATH", "cifar10"} & set(fix.values()):  # followed in the tests of these sources
            continue
        fixed = {name.replace("data.name", "data"): value for name, value in fix.items()}
        assert len(open_source(**options | fixed)) > 0


def test_the_option_that_was_meant_works():
    with pytest.raises(UnknownOption) as raised:
        open_source("digits", resolutoin=16)
    meant = re.search(r"did you mean (\w+)\?$", str(raised.value))[1]
    assert open_source("digits", **{meant: 16}).spec.shape == (16, 16, 1)


def test_an_instance_of_options_opens_its_own_source():
    options = digits.Options(resolution=16, labels=False)
    source = open_source(options, split="test")
    assert (source.spec.shape, source.spec.num_classes) == ((16, 16, 1), None)
    assert source.summary.startswith("digits (test)")


def test_import_is_light():
    code = (
        "import sys, jaxgan.data; heavy = {'tensorflow', 'tensorflow_datasets', 'sklearn'}; "
        "sys.exit(' '.join(heavy & sys.modules.keys()) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
        with pytest.raises(
            ValueError, match=r"11 images requested from a set of 10 .*; ask for 1 to 10"
        ):
            self.source.images(11)

    def test_several_processes_share_a_spread(self):
        whole = self.source.images(7)[:, 0].tolist()
        shares = [
            [example for batch in self.source.spread(7, 2, (i, 3)) for example in batch["image"]]
            for i in range(3)
        ]
        assert [len(share) for share in shares] == [3, 2, 2]
        assert [int(example[0]) for share in shares for example in share] == whole

    def test_what_is_gathered_may_be_written_to(self):
        self.source.gather(np.array([5]))["image"][:] = 0
        assert self.source[5]["image"] == 5
