"""Scores of generators with known faults. Features need no download, so none of the numbers is an FID or an IS."""

import jax
import numpy as np
from sklearn.linear_model import LogisticRegression

from jaxgan.data import open_source
from jaxgan.metrics import (
    Moments,
    extractor_for,
    frechet_distance_to,
    patch_sliced_wasserstein,
)
from jaxgan.metrics.inception_score import inception_score

HALF = 700


def _digits():
    source = open_source("digits", split="train")
    every = source.gather(np.arange(len(source)))
    order = np.random.default_rng(0).permutation(len(source))
    large = every["image"].repeat(2, axis=1).repeat(2, axis=2)  # 16 x 16, for patches of 7 x 7
    return large[order], every["label"][order]


def _shuffled(images, rng):
    """The four quarters of each picture in a random order."""
    b, h, w, c = images.shape
    quarters = (
        images.reshape(b, 2, h // 2, 2, w // 2, c)
        .transpose(0, 1, 3, 2, 4, 5)
        .reshape(b, 4, h // 2, w // 2, c)
    )
    mixed = np.stack([q[rng.permutation(4)] for q in quarters]).reshape(b, 2, 2, h // 2, w // 2, c)
    return mixed.transpose(0, 1, 3, 2, 4, 5).reshape(images.shape)


def _faults(images, labels, sureness):
    """{name: generated pictures}, for training pictures images[:HALF]; `sureness` of a classifier, for each picture."""
    rng = np.random.default_rng(1)
    new, of_new = images[HALF:], labels[HALF:]
    surest = [np.argmax(np.where(of_new == k, sureness[HALF:], 0)) for k in range(10)]
    one_each = new[surest]
    return {
        "perfect": new,
        "copies of the training set": images[:HALF],
        "one picture per class": one_each[of_new],
        "five classes only": new[of_new < 5],
        "quarters shuffled": _shuffled(new, rng),
    }


def scores():
    """The class score (IS's formula), Fréchet distances (FID's formula) and patches, for each fault."""
    images, labels = _digits()
    real = images[:HALF]

    def rows(x):
        return x.reshape(len(x), -1) / 255.0

    classifier = LogisticRegression(max_iter=200).fit(rows(real), labels[:HALF])
    sureness = classifier.predict_proba(rows(images)).max(axis=1)
    extractors = {name: extractor_for(images.shape[1:], name) for name in ("random_conv", "pixels")}

    def features(name, x):
        found = extractors[name](x)
        return np.asarray(
            next(iter(found.values())) if isinstance(found, dict) else found, np.float64
        )

    distance = {name: frechet_distance_to(Moments.of(features(name, real))) for name in extractors}
    table = {}
    for fault, fake in _faults(images, labels, sureness).items():
        fewer = min(len(fake), HALF)
        table[fault] = {
            "class score": inception_score(
                classifier.predict_proba(rows(fake)), splits=1, kind="probabilities"
            ).mean,
            "pooled features": distance["random_conv"](Moments.of(features("random_conv", fake))),
            "features with places": distance["pixels"](Moments.of(features("pixels", fake))),
            "patches": patch_sliced_wasserstein(
                real[:fewer], fake[:fewer], patches=16, projections=64
            ).mean,
        }
    table["foreign classes"] = {"class score": _foreign(images, labels, rows)}
    return table


def _foreign(images, labels, rows):
    """The class score of real digits 5 to 9 by a classifier of 0 to 4, as a share of that of real 0 to 4."""
    known, train = labels < 5, np.arange(len(labels)) < HALF
    classifier = LogisticRegression(max_iter=200).fit(
        rows(images[known & train]), labels[known & train]
    )

    def score(which):
        answers = classifier.predict_proba(rows(images[which & ~train]))
        return inception_score(answers, splits=1, kind="probabilities").mean

    return score(~known) / score(known)


def draw_scores(figure, numbers):
    faults = [name for name in numbers if name != "foreign classes"]
    names = list(numbers["perfect"])
    colours = jax.tree.map(lambda i: f"C{i}", list(range(len(faults))))
    for axis, name in zip(figure.subplots(1, len(names), sharey=True), names, strict=True):
        if name == "class score":
            values = [numbers[fault][name] for fault in faults]
            axis.axvline(numbers["perfect"][name], color="black", linewidth=0.8)
            axis.set(title=name, xlabel="high is better")
        else:
            values = [numbers[fault][name] / numbers["perfect"][name] for fault in faults]
            axis.set_xscale("log")
            axis.axvline(1.0, color="black", linewidth=0.8)
            axis.set(title=name, xlabel="times perfect; low is better", xlim=(0.3, 300))
        axis.barh(faults[::-1], values[::-1], color=colours[::-1])
