"""Values that papers and tools agree on, for whoever has a network and CIFAR-10: `pytest -m slow` then checks them."""

import pytest

from jaxgan.data import open_source
from jaxgan.metrics.evaluate import evaluate
from jaxgan.metrics.networks import network_extractor
from jaxgan.metrics.protocols import adapted
from jaxgan.options import OptionError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inception():
    try:
        return network_extractor("inception")
    except OptionError as error:
        pytest.skip(f"Inception's weights are not here: {error}")


@pytest.fixture(scope="module")
def cifar10():
    try:
        return {
            split: open_source("tfds", tfds_name="cifar10", split=split)
            for split in ("train", "test")
        }
    except (FileNotFoundError, ValueError) as error:
        pytest.skip(f"CIFAR-10 is not prepared: {error}")


def test_fid_of_cifar10s_train_and_test_pictures(inception, cifar10):
    """3.15 by the original code and torch-fidelity; other resizes and networks give other numbers."""
    protocol = adapted("fid50k_train", num_fake=10_000)
    result = evaluate(
        cifar10["train"].batches(256), cifar10["test"].batches(256), inception, protocol
    )
    assert 3.1 < result["fid"] < 3.2


def test_inception_score_of_cifar10(inception, cifar10):
    """11.24 in ten parts (Salimans et al. 2016, Table 3)."""
    result = evaluate(None, cifar10["train"].batches(256), inception, "is50k_10splits")
    assert result["is"] == pytest.approx(11.24, abs=0.03)
