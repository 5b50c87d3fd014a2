"""Array files, and files that pack encoded pictures."""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from jaxgan.data import Pipeline, array, array_source, open_source
from jaxgan.options import OptionError

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 8, 9, 3), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 1, 0, 2])


@pytest.fixture
def load(tmp_path):
    """load(images) and load(images=..., labels=...) go through a .npy or .npz file."""

    def through_file(*arrays, options=(), **members):
        path = tmp_path / ("a.npy" if arrays else "a.npz")
        np.save(path, *arrays) if arrays else np.savez(path, **members)
        return open_source("array", path=str(path), **dict(options))

    return through_file


class TestImages:
    def test_uint8_is_kept(self, load, tmp_path):
        source = load(images=IMAGES, labels=LABELS)
        batch = source.gather(np.arange(6))
        np.testing.assert_array_equal(batch["image"], IMAGES)
        np.testing.assert_array_equal(batch["label"], LABELS)
        assert (source.spec.shape, source.spec.num_classes, source.spec.size) == ((8, 9, 3), 3, 6)
        assert source.summary == f"array {tmp_path}/a.npz: 6 images, 8x9x3, 3 classes"

    def test_names_of_members(self, load):
        np.testing.assert_array_equal(load(x=IMAGES, y=LABELS)[1]["label"], 2)
        spec = load(anything=IMAGES).spec
        assert (spec.shape, spec.num_classes, spec.size) == ((8, 9, 3), None, 6)
        assert load(z=LABELS, images=IMAGES).spec.shape == (8, 9, 3)
        assert load(IMAGES).spec.shape == (8, 9, 3)
        assert load(images=IMAGES, labels=LABELS, options={"labels": False}.items())[0].keys() == {
            "image"
        }

    def test_large_npy_stays_on_disk(self, load, monkeypatch):
        monkeypatch.setattr(array, "CACHE_BYTES", 10)
        source = load(IMAGES)
        assert isinstance(source._images.base, np.memmap)
        np.testing.assert_array_equal(source.images(), IMAGES)
        assert type(source.images()) is np.ndarray

    def test_grey_without_channels(self, load):
        np.testing.assert_array_equal(load(IMAGES[..., 0]).images(), IMAGES[..., :1])

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_floats(self, load, dtype):
        unit = (IMAGES / 255).astype(dtype)
        np.testing.assert_array_equal(load(unit).images(), IMAGES)
        np.testing.assert_array_equal(load((unit * 2 - 1).astype(dtype)).images(), IMAGES)

    def test_other_whole_numbers(self, load):
        np.testing.assert_array_equal(load(IMAGES.astype(np.int64)).images(), IMAGES)

    def test_resolution_and_channels(self, load):
        options = {"resolution": 4, "channels": 1}.items()
        assert load(IMAGES, options=options).spec.shape == (4, 4, 1)
        alpha = np.concatenate([IMAGES, np.full_like(IMAGES[..., :1], 255)], axis=-1)
        np.testing.assert_array_equal(load(alpha).images(), IMAGES)

    @pytest.mark.parametrize(
        ("images", "text", "mend"),
        [
            (
                IMAGES.astype(np.float32),
                "floating-point numbers from 0 to 255; pictures have [0, 1]",
                lambda x: x / 255,
            ),
            (
                np.where(np.arange(6)[:, None, None, None] > 3, np.nan, IMAGES / 255),
                "2 of its 6 pictures contain NaN, the first is number 4; remove these, and their labels",
                lambda x: x[:4],
            ),
            (
                np.full((2, 5, 5), -np.inf),
                "floating-point numbers from -inf to -inf; pictures have [0, 1] or [-1, 1], or uint8 from 0 to 255",
                lambda x: np.full(x.shape, -1.0),
            ),
            (
                IMAGES.astype(np.int64) - 1,
                "whole numbers from -1 to 254; pictures have 0 to 255, or floats in [0, 1]",
                lambda x: x + 1,
            ),
            (
                IMAGES > 3,
                "pictures of type bool; give uint8, or floats in [0, 1]",
                lambda x: x * np.uint8(255),
            ),
            (
                IMAGES.transpose(0, 3, 1, 2),
                "shape [6, 3, 8, 9] has its channels first; make it [N, H, W, C] with "
                "numpy.transpose(images, (0, 2, 3, 1))",
                lambda x: np.transpose(x, (0, 2, 3, 1)),
            ),
            (
                IMAGES[0],
                "shape [8, 9, 3] is not a set of pictures, which is [N, H, W] or [N, H, W, C] with 1 (grey), 3 (RGB), "
                "or 2 or 4 channels (with alpha)",
                lambda x: x[None],
            ),
            (IMAGES[:0], "shape [0, 8, 9, 3] is not a set of pictures", lambda x: IMAGES[:1]),
            (LABELS, "shape [6] is not a set of pictures", lambda x: IMAGES),
            (
                np.zeros((2, 8, 8, 5), np.uint8),
                "shape [2, 8, 8, 5] is not a set of pictures",
                lambda x: x[..., :3],
            ),
        ],
    )
    def test_refused(self, load, images, text, mend):
        with pytest.raises(ValueError, match=re.escape(text)):
            load(images)
        mended = mend(images)
        assert load(mended).images().shape[:3] == mended.shape[:3]

    @pytest.mark.parametrize(
        ("images", "way"),
        [
            (IMAGES / np.float32(255) * np.float32(1.01), "clip these: numpy.clip(images, 0, 1)"),
            (IMAGES / np.float32(100) - 1, "clip these: numpy.clip(images, -1, 1)"),
            (IMAGES.astype(np.float64), "divide these by 255"),
            (IMAGES > 99, "images.astype(numpy.float32)"),
        ],
    )
    def test_the_way_out_of_wrong_numbers(self, images, way):
        """The advised expression, computed."""
        with pytest.raises(ValueError, match=re.escape(way)):
            array_source(images)
        mend = way.rpartition(": ")[2].replace("divide these by", "images /")
        found = array_source(eval(mend, {"images": images, "numpy": np})).images()
        near = np.where(images, 255, 0) if images.dtype == bool else IMAGES
        assert "-1" in way or np.abs(near.astype(int) - found).max() <= 3

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize("range_", [(0, 1), (-1, 1)])
    def test_rounding_errors_are_clipped(self, load, caplog, dtype, range_):
        """-1e-7 in pictures of [0, 1] made all of them pale; 1 + 2e-7 was refused as a number from 0 to 1."""
        low, high = range_
        floats = (IMAGES / 255 * (high - low) + low).astype(dtype)
        floats[0, 0, 0, 0], floats[1, 0, 0, 0] = low - 1e-7, high + 2e-7
        floats[0, 0, 1, 0], floats[1, 0, 1, 0] = low - 1.9e-3, high + 1.9e-3
        expected = IMAGES.copy()
        expected[0, 0, :2, 0], expected[1, 0, :2, 0] = 0, 255
        np.testing.assert_array_equal(load(floats).images(), expected)
        assert caplog.text == ""

    def test_an_overshoot_below_zero_is_told(self, caplog):
        """Which of the two ranges is meant cannot be known, so it is said; the advised call is followed."""
        images = IMAGES / np.float32(255)
        images[0, 0, 0, 0] = -0.05
        array_source(images)
        assert "taken to be in [-1, 1], since the lowest of their numbers is -0.05" in caplog.text
        caplog.clear()
        array_source(np.clip(images, 0, 1))
        array_source(IMAGES / np.float32(127.5) - 1)
        assert caplog.text == ""

    def test_bits_are_told(self, load, caplog, monkeypatch):
        bits = (IMAGES > 99).astype(np.uint8)
        for images in (bits, bits.astype(np.int64)):
            np.testing.assert_array_equal(load(images).images(), bits)
            assert "hold only 0 and 1, but white is 255; if 1 means white, multiply" in caplog.text
            caplog.clear()
        for images in (bits * 255, np.zeros_like(bits), bits / 1.0):
            load(images)
        assert caplog.text == ""
        monkeypatch.setattr(array, "CACHE_BYTES", 10)  # memory-mapped
        load(bits)
        assert "hold only 0 and 1" in caplog.text


class TestLabels:
    @pytest.mark.parametrize(
        ("labels", "found", "way"),
        [
            (LABELS[:5], "int64 of shape [5]", ""),
            (LABELS[:, None], "int64 of shape [6, 1]", "labels[:, 0]"),
            (np.eye(3)[LABELS], "float64 of shape [6, 3], which are one-hot", "labels.argmax(axis=1)"),
            (LABELS.astype(np.float16), "float16 of shape [6]", "labels.astype(int)"),
            (LABELS + 0.5, "float64 of shape [6]", ""),
            (LABELS * np.nan, "float64 of shape [6]", ""),
            (LABELS == 1, "bool of shape [6]", "numpy.unique(labels, return_inverse=True)[1]"),
            (LABELS.astype(str), "<U21 of shape [6]", "numpy.unique(labels, return_inverse=True)[1]"),
            (LABELS + 2**40, "numbers up to 1099511627778", "numpy.unique(labels, return_inverse=True)[1]"),
            (LABELS + 2**31, "numbers up to 2147483650", "numpy.unique(labels, return_inverse=True)[1]"),
            (LABELS.astype(np.uint64) + np.uint64(2**63), "numbers up to 9223372036854775810",
             "numpy.unique(labels, return_inverse=True)[1]"),
            (LABELS - 1, "numbers from -1", ""),
        ],
    )  # fmt: skip
    def test_wrong_labels(self, labels, found, way):
        """Each is refused for what is wrong with it; the advised expression is computed."""
        text = (
            "array: labels must be 6 whole numbers from 0, one for each picture, not "
            f"{found}: {f'give {way}, ' if way else ''}"
        )
        with pytest.raises(ValueError, match=re.escape(text)) as raised:
            array_source(IMAGES, labels)
        assert str(raised.value).endswith(", or leave them out: set labels=false.")
        if way:
            given = eval(way, {"labels": labels, "numpy": np})
            assert array_source(IMAGES, given).spec.num_classes in (2, 3)

    def test_labels_can_be_left_out(self, load):
        options = {"labels": False}.items()
        assert load(images=IMAGES, labels=LABELS - 1, options=options).spec.num_classes is None

    @pytest.mark.parametrize(
        ("labels", "text"),
        [
            (LABELS + 1, "its labels go from 1 to 3, so there are 4 classes, but no picture is of class 0"),
            (LABELS * 100, "its labels go from 0 to 200, so there are 201 classes, but only 6 pictures"),
        ],
    )  # fmt: skip
    def test_classes_that_never_occur_are_told(self, caplog, labels, text):
        assert array_source(IMAGES, labels).spec.num_classes == labels.max() + 1
        assert text in caplog.text
        caplog.clear()
        array_source(IMAGES, np.unique(labels, return_inverse=True)[1])  # from 0 without gaps
        array_source(IMAGES[:1], np.array([0]))
        assert caplog.text == ""

    def test_names_of_classes(self, load, png):
        names = np.array(["cat", "dog", "fox", "gnu"])
        data = png(IMAGES[0])
        packed = {"data": np.frombuffer(data, np.uint8), "offsets": np.array([0, len(data)])}
        for source in (
            load(images=IMAGES, labels=LABELS, label_names=names),
            load(**packed, labels=LABELS[:1], label_names=names),
        ):
            assert source.classes == ("cat", "dog", "fox", "gnu")
            assert source.spec.num_classes == 4

    @pytest.mark.parametrize("names", [["cat", "dog"], [["cat", "dog", "fox"]], [1, 2, 3]])
    def test_names_that_are_not_of_the_classes(self, load, names):
        members = {"images": IMAGES, "labels": LABELS, "label_names": np.array(names)}
        text = (
            r"`label_names` must be the name of each class, from 0 to 2, not .*: set labels=false\."
        )
        with pytest.raises(array.BadLabels, match=text) as raised:
            load(**members)
        (fix,) = raised.value.fixes
        assert load(**members, options=fix.items()).spec.num_classes is None
        corrected = members | {"label_names": np.array(["cat", "dog", "fox"])}
        assert load(**corrected).classes == ("cat", "dog", "fox")


class TestFile:
    def assert_refused(self, text, path, **options):
        with pytest.raises(ValueError, match=re.escape(text)) as raised:
            open_source("array", path=str(path), **options)
        assert "\n" not in str(raised.value)
        return raised.value

    def test_missing(self, load, tmp_path):
        text = f"path is '{tmp_path}/b.npy', but there is no such file: set path=PATH."
        (fix,) = self.assert_refused(text, tmp_path / "b.npy").fixes
        load(IMAGES)
        assert len(open_source("array", **dict.fromkeys(fix, str(tmp_path / "a.npy")))) == 6

    def test_a_folder(self, save_pictures):
        root = save_pictures("a.png")[0]
        text = f"path is '{root}', but a folder is neither a .npy nor a .npz file: set data.name=folder."
        (fix,) = self.assert_refused(text, root).fixes
        assert len(open_source(fix["data.name"], path=str(root))) == 1

    def test_pickles_are_never_loaded(self, load):
        text = r"is not a complete \.npy or \.npz file of plain numbers .*; write it again with numpy\.save or numpy\."
        with pytest.raises(ValueError, match=text):
            load(np.array([{"a": 1}, None], dtype=object))
        assert len(load(IMAGES)) == 6

    @pytest.mark.parametrize("suffix", ["npy", "npz"])
    @pytest.mark.parametrize("keep", [0, 100, 700])
    def test_truncated(self, load, tmp_path, suffix, keep):
        def write():
            load(IMAGES) if suffix == "npy" else load(images=IMAGES)

        write()
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(path.read_bytes()[:keep])
        self.assert_refused(
            f"a.{suffix}: is not a complete .npy or .npz file of plain numbers (", path
        )
        write()
        assert len(open_source("array", path=str(path))) == 6

    def test_empty(self, load):
        text = "a.npz: holds no arrays; add the pictures as `images`"
        with pytest.raises(ValueError, match=text):
            load()
        assert len(load(images=IMAGES)) == 6

    def test_split(self, load):
        text = "split is 'test', but it must be one of train, all: set split=train."
        with pytest.raises(OptionError, match=re.escape(text)) as raised:
            load(IMAGES, options={"split": "test"}.items())
        (fix,) = raised.value.fixes
        assert len(load(IMAGES, options=fix.items())) == 6


class TestPacked:
    @pytest.fixture
    def pack(self, png):
        """pack([pixels, ...]) is `data` and `offsets`."""

        def packed(images):
            files = [image if isinstance(image, bytes) else png(image) for image in images]
            offsets = np.cumsum([0, *map(len, files)])
            return {"data": np.frombuffer(b"".join(files), np.uint8), "offsets": offsets}

        return packed

    def test_pictures_and_labels(self, load, pack, both_ways):
        source = load(**pack(IMAGES), labels=LABELS.astype(np.uint8))
        batch = source.gather(np.arange(6))
        np.testing.assert_array_equal(batch["image"], IMAGES)
        np.testing.assert_array_equal(batch["label"], LABELS)
        assert (source.spec.shape, source.spec.num_classes, source.spec.size) == ((8, 9, 3), 3, 6)

    def test_broken_ones_are_skipped(self, load, pack):
        source = load(**pack([IMAGES[0], b"junk", IMAGES[2]]), labels=LABELS[:3])
        assert source.broken == (("number 1", "not a picture that Pillow can read"),)
        np.testing.assert_array_equal(source.images(), IMAGES[[0, 2]])
        assert source[1]["label"] == LABELS[2]

    @pytest.mark.parametrize("offsets", [[0, 5, 3], [0, 10**9], [-1, 5], [0], [0.0, 5.0]])
    def test_wrong_offsets(self, load, pack, offsets):
        members = pack(IMAGES)
        text = "`offsets` must be N + 1 rising positions in `data`, the uint8 bytes of N pictures"
        with pytest.raises(ValueError, match=re.escape(text)):
            load(**members | {"offsets": np.array(offsets)})
        assert len(load(**members)) == 6


@pytest.mark.skipif("JAXGAN_TEST_DATA" not in os.environ, reason="JAXGAN_TEST_DATA is not set")
def test_cifar10_packed():
    path = Path(os.environ["JAXGAN_TEST_DATA"]) / "cifar10" / "cifar10_jpeg_test.npz"
    source = open_source("array", path=str(path))
    assert (source.spec.shape, source.spec.num_classes, source.spec.size) == (
        (32, 32, 3),
        10,
        10_000,
    )
    digest = hashlib.sha256(source.images().tobytes()).hexdigest()
    assert digest == "b7018a062865e9348a704e72416eb53c816b43cc8ac42ab43276a2b967508ab6"
    epoch = Pipeline(source, seed=0).batch(0, 10_000)
    assert np.bincount(epoch["label"]).tolist() == [1000] * 10
    mean = epoch["image"].mean(axis=(0, 1, 2)) / 255
    np.testing.assert_allclose(mean, [0.494, 0.485, 0.450], atol=2e-3)
