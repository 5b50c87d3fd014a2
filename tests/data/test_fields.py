"""Fields of pixels are mirrored, cropped and reduced together, and all other fields are left alone."""

import re

import numpy as np
import pytest

from jaxgan.data import ArraySource, Pipeline
from jaxgan.data.source import Column
from jaxgan.options import OptionError
from jaxgan.spec import Field

SIDE, ROWS = 12, 24
LABELS = 5


def striped(axis, size=(SIDE, SIDE)):
    """Label maps [N, H, W] of two labels in stripes of random widths along an axis, constant along the other."""
    rng = np.random.default_rng(axis)
    lines = rng.integers(0, 2, (ROWS, size[axis])).astype(np.uint8)
    maps = lines[:, :, None] if axis == 0 else lines[:, None, :]
    return np.broadcast_to(maps, (ROWS, *size)).copy()


def source_of(maps, condition=None, labels=LABELS):
    """Pictures that show their label map: white where the label is not 0, black elsewhere."""
    pictures = np.where(maps > 0, np.uint8(255), np.uint8(0))[..., None]
    numbers = np.arange(len(maps))
    columns = {
        "label_map": Column(Field("label_map", maps.shape[1:], labels), maps),
        "attributes": Column(
            Field("attributes", number=6), (numbers[:, None] >> np.arange(6) & 1).astype(np.int32)
        ),
        "condition": Column(
            Field("image", (pictures if condition is None else condition).shape[1:]),
            pictures if condition is None else condition,
        ),
    }
    return ArraySource(pictures, numbers, columns=columns)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("flip", [False, True])
def test_each_pixel_of_a_map_stays_with_its_pixel_of_the_picture(axis, flip):
    """Along one axis the nearest pixel has at least half of the weight of a bilinear interpolation."""
    source = source_of(striped(axis))
    plain = Pipeline(source, 3).batch(0, 4 * ROWS)
    batch = Pipeline(source, 3, flip=flip, jitter=7).batch(0, 4 * ROWS)
    picture, labels = batch["image"][..., 0], batch["label_map"]
    # Two of three pixels are clear; at a tie of the weights either may be right.
    clear = np.abs(picture.astype(int) - 127.5) > 2
    assert clear.mean() > 0.95
    np.testing.assert_array_equal((picture > 127)[clear], (labels > 0)[clear])
    np.testing.assert_array_equal(batch["condition"], batch["image"])
    changed = (labels != plain["label_map"]).any(axis=(1, 2))
    assert changed.mean() > 0.5
    for name in ("label", "attributes"):
        np.testing.assert_array_equal(batch[name], plain[name])


def test_mirroring_alone_is_exact_for_every_field_of_pixels():
    rng = np.random.default_rng(0)
    maps = rng.integers(0, LABELS, (ROWS, SIDE, SIDE)).astype(np.uint8)
    source = source_of(maps)
    plain, batch = (Pipeline(source, 3, flip=flip).batch(0, 4 * ROWS) for flip in (False, True))
    mirrored = (batch["label_map"] == plain["label_map"][:, :, ::-1]).all(axis=(1, 2))
    assert 0.3 < mirrored.mean() < 0.7
    for name in ("image", "condition", "label_map"):
        expected = plain[name].copy()
        expected[mirrored] = expected[mirrored, :, ::-1]
        np.testing.assert_array_equal(batch[name], expected)


def test_a_condition_of_another_size_shows_the_same_part():
    """A ramp along an axis has the same brightness at the same place, at any size."""
    ramp = np.linspace(0, 255, 4 * SIDE)
    large = np.broadcast_to(ramp[None, :, None], (4 * SIDE, 4 * SIDE, 1))
    small = large.reshape(SIDE, 4, SIDE, 4, 1).mean(axis=(1, 3))
    large, small = (np.round(np.stack([x] * ROWS)).astype(np.uint8) for x in (large, small))
    source = ArraySource(
        large, columns={"condition": Column(Field("image", (SIDE, SIDE, 1)), small)}
    )
    batch = Pipeline(source, 0, flip=True, jitter=16).batch(0, 64)
    shown = batch["image"].reshape(64, SIDE, 4, SIDE, 4, 1).mean(axis=(2, 4))
    # At the window's edges pixels beyond it are missing from one and not from the other.
    assert np.abs(shown - batch["condition"])[:, :, 1:-1].max() < 3
    spread = batch["condition"][:, 0, :, 0].mean(axis=1)
    assert spread.std() > 10


@pytest.mark.parametrize("labels", [256, 3000])
def test_maps_are_never_interpolated(labels):
    rng = np.random.default_rng(0)
    field = Field("label_map", (SIDE, SIDE), labels)
    maps = rng.choice([0, labels - 1], (ROWS, SIDE, SIDE)).astype(field.dtype)
    batch = Pipeline(source_of(maps, labels=labels), 0, flip=True, jitter=5).batch(0, 4 * ROWS)
    assert batch["label_map"].dtype == field.dtype
    assert set(np.unique(batch["label_map"])) == {0, labels - 1}


def test_a_stage_reduces_maps_to_existing_indices_at_the_same_place():
    quarters = np.arange(ROWS * 9).reshape(ROWS, 3, 3) % LABELS
    maps = quarters.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    batch = Pipeline(source_of(maps), 0, flip=True, resolution=3).batch(0, ROWS)
    assert batch["label_map"].shape == (ROWS, 3, 3)
    np.testing.assert_array_equal(batch["label_map"] > 0, batch["image"][..., 0] == 255)
    np.testing.assert_array_equal(batch["condition"], batch["image"])


def test_a_field_whose_size_is_no_multiple_is_refused():
    source = source_of(striped(0), condition=np.zeros((ROWS, 9, 9, 1), np.uint8))
    text = "a stage trains at 6 pixels, and the size of the data must be a multiple: "
    with pytest.raises(OptionError, match=re.escape(text)) as raised:
        Pipeline(source, 0, resolution=6)
    (fix,) = raised.value.fixes
    side = fix["resolution"]
    source = source_of(striped(0), condition=np.zeros((ROWS, side, side, 1), np.uint8))
    assert Pipeline(source, 0, resolution=6).batch(0, 2)["condition"].shape == (2, 6, 6, 1)


def test_any_start_batch_size_and_process_give_the_same_examples():
    rng = np.random.default_rng(0)
    maps = rng.integers(0, LABELS, (ROWS, SIDE, SIDE)).astype(np.uint8)

    def drawn(start, batch_size, count, shard=(0, 1)):
        pipeline = Pipeline(source_of(maps), 5, flip=True, jitter=3, shard=shard)
        iterator = pipeline.iterate(start, batch_size)
        batches = [next(iterator) for _ in range(count)]
        iterator.close()
        return {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}

    whole = drawn(0, 8, 10)
    assert whole.keys() == {"image", "label", "label_map", "attributes", "condition"}
    for name, values in drawn(6, 8, 4).items():
        np.testing.assert_array_equal(values, whole[name][48:])
    for name, values in drawn(0, 16, 5).items():
        np.testing.assert_array_equal(values, whole[name])
    parts = [drawn(0, 8, 1, (i, 2)) for i in range(2)]
    for name, values in whole.items():
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), values[:8])
