"""Checks of the arrays passed to the scores."""

import numpy as np


def feature_set(name: str, features) -> np.ndarray:
    """Checks that features are a finite, non-empty matrix [N, D]."""
    return feature_sets(**{name: features})[0]


def feature_sets(**sets) -> list[np.ndarray]:
    """Checks that sets of features are finite, non-empty matrices [N, D] with the same D."""
    arrays = {name: np.asarray(features) for name, features in sets.items()}
    shapes = [array.shape for array in arrays.values()]
    if any(len(shape) != 2 or 0 in shape for shape in shapes) or len({s[1] for s in shapes}) > 1:
        found = ", ".join(f"{name} {list(array.shape)}" for name, array in arrays.items())
        raise ValueError(
            f"features must have shape [N, D], with the same D and N of at least 1 in each set, not {found}"
        )
    for name, array in arrays.items():
        finite(name, array)
    return list(arrays.values())


def feature_pair(real, fake) -> list[np.ndarray]:
    """Checks two sets of features, [N, D] and [M, D]."""
    return feature_sets(real=real, fake=fake)


def finite(name: str, values: np.ndarray) -> None:
    bad = int((~np.isfinite(values).all(axis=tuple(range(1, values.ndim)))).sum())
    if bad:
        raise ValueError(
            f"{bad} of {len(values)} rows of {name} contain NaN or Inf: the generator or the feature "
            "network has diverged, and scores of these rows are meaningless"
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
