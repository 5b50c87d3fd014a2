"""`jaxgan train` makes digits: a classifier of real ones says so."""

import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from jaxgan.cli import main


def classifier():
    """A support-vector classifier of real digits with calibrated probabilities, and its accuracy on held-out ones."""
    digits = load_digits()
    pictures = digits.images.reshape(-1, 64) / 16
    train_x, test_x, train_y, test_y = train_test_split(
        pictures, digits.target, test_size=0.25, random_state=0, stratify=digits.target
    )
    svc = CalibratedClassifierCV(SVC(gamma=0.05, C=10), ensemble=False).fit(train_x, train_y)
    return svc, svc.score(test_x, test_y)


@pytest.mark.slow
def test_the_default_run_makes_all_ten_digits(tmp_path):
    workdir, samples = str(tmp_path / "run"), tmp_path / "samples.npz"
    # One device, as in a shell; this suite has eight virtual ones, four times as slow.
    assert main.main(["train", "--workdir", workdir, "--config.train.devices=1"]) == 0
    assert main.main(["sample", "--workdir", workdir, "--num", "2000", "--out", str(samples)]) == 0
    with np.load(samples) as file:
        images = file["images"]
    assert images.shape == (2000, 8, 8, 1)

    svc, accuracy = classifier()
    assert accuracy >= 0.97
    probabilities = svc.predict_proba(images.reshape(-1, 64) / 255)
    shares = np.bincount(probabilities.argmax(1), minlength=10) / 2000
    print(
        f"held-out accuracy {accuracy:.3f}, shares {shares}, top {probabilities.max(1).mean():.3f}"
    )
    assert shares.min() >= 0.03
    assert probabilities.max(1).mean() >= 0.8
