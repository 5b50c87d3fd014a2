"""What the scores ask of the arrays that they are given."""

import numpy as np


def feature_set(name: str, features) -> np.ndarray:
    """Checks features [N, D]: a matrix, not empty, finite."""
    features = np.asarray(features)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(
            f"{name} must be features [N, D], at least one of each, not {list(features.shape)}"
        )
    finite(name, features)
    return features


def feature_pair(real, fake) -> tuple[np.ndarray, np.ndarray]:
    """Checks two sets of features, [N, D] and [M, D]."""
    real, fake = np.asarray(real), np.asarray(fake)
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"features must have shapes [N, D] and [M, D], not {list(real.shape)} and "
            f"{list(fake.shape)}"
        )
    return feature_set("real", real), feature_set("fake", fake)


def finite(name: str, values: np.ndarray) -> None:
    bad = int((~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(values)} rows of {name} contain NaN or Inf: the generator or the feature "
            "network has diverged, and no score of them means anything"
        )


def labels_of(name: str, labels, count: int) -> np.ndarray:
    """Checks class labels: whole numbers [count]."""
    labels = np.asarray(labels)
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"{name} must be {count} whole numbers, one for each example, not {labels.dtype} "
            f"{list(labels.shape)}"
        )
    return labels


def pictures(name: str, images) -> np.ndarray:
    """Checks a set of pictures [N, H, W, C]."""
    images = np.asarray(images)
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(f"{name} must be pictures [N, H, W, C], not {list(images.shape)}")
    if np.issubdtype(images.dtype, np.floating):
        finite(name, images)
    return images


def at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name} = {value} must be at least {least}")
