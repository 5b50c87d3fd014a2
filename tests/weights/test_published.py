"""The table of published files against itself, and against those that a package brings along."""

import hashlib
import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pytest

from jaxgan.weights import PUBLISHED, load
from jaxgan.weights.published import by_name

ENTRIES = list(PUBLISHED.values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_says_what_its_address_says(entry):
    assert by_name(entry.name) is entry
    assert re.fullmatch(r"https://[\w./-]+", entry.url)
    assert re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{8}|", entry.checksum)
    named = re.findall(r"(?:^|[-/])([0-9a-f]{64}|[0-9a-f]{8})(?=[./])", entry.url)
    if named:  # a checksum in the address is the entry's, or the beginning of it
        assert entry.checksum.startswith(named[-1])
    if len(entry.checksum) == 8:
        assert named
    if "lpips" not in entry.name:
        assert entry.url.endswith(f"/{entry.file}")


def test_no_two_entries_share_a_place():
    assert len({entry.file for entry in ENTRIES}) == len(ENTRIES)
    assert len({entry.url for entry in ENTRIES}) == len(ENTRIES)


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(
        ValueError, match=r"no weights are called 'vgg'; there are alexnet, .*vgg16"
    ):
        by_name("vgg")


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_the_heads_of_lpips_are_those_of_its_package(net, cache):
    spec = importlib.util.find_spec("lpips")
    if spec is None:
        pytest.skip("needs lpips (extra parity)")
    path = Path(spec.origin).parent / f"weights/v0.1/{net}.pth"
    tensors, sha256 = load(f"lpips_{net}", path)
    assert sha256 == by_name(f"lpips_{net}").checksum
    assert list(tensors) == [f"lin{layer}.model.1.weight" for layer in range(len(tensors))]
    assert len(tensors) == (7 if net == "squeeze" else 5)
    data = os.environ.get("JAXGAN_TEST_DATA")
    if data is None:
        pytest.skip("the numbers need JAXGAN_TEST_DATA")
    with np.load(Path(data, "nets/lpips_v0.1_lin.npz")) as expected:
        for name, tensor in tensors.items():
            np.testing.assert_array_equal(tensor, expected[f"{net}/{name}"])
    assert not cache.exists()
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
