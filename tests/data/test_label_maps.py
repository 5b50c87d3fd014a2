"""Pictures with label maps: layouts, indices, splits, and what is wrong with a set of them."""

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saving import save

from jaxgan.data import Pipeline, open_source
from jaxgan.data.label_maps import Options, labelled
from jaxgan.options import OptionError
from jaxgan.spec import Field, Spec

RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
MAPS = RANDOM.integers(0, 7, (5, 6, 8)).astype(np.uint8)
MAPS[:, 0, 0] = 6
HUGE = MAPS.astype(np.int64) + 2**40


def label_maps(path="", **options):
    return open_source("label_maps", path=str(path), **{"num_labels": 7} | options)


def save_set(root, image="images/{}.png", label="labels/{}.png", rows=range(5)):
    return save(
        root,
        **{image.format(i): PICTURES[i] for i in rows},
        **{label.format(i): MAPS[i] for i in rows},
    )


def contents(source):
    return source.gather(np.arange(len(source)))


def assert_is_the_set(source, rows=range(5)):
    batch = contents(source)
    np.testing.assert_array_equal(batch["image"], PICTURES[list(rows)])
    np.testing.assert_array_equal(batch["label_map"], MAPS[list(rows)])
    assert batch["label_map"].dtype == np.uint8


@pytest.mark.usefixtures("both_ways")
class TestLayouts:
    def test_two_folders(self, tmp_path):
        source = label_maps(save_set(tmp_path))
        assert_is_the_set(source)
        fields = {"image": Field("image", (6, 8, 3)), "label_map": Field("label_map", (6, 8), 7)}
        assert source.spec == Spec(fields, 5)
        assert source.summary == (f"folder {tmp_path}: 5 pictures with label maps, 6x8x3, 7 labels")

    def test_the_same_name_with_another_suffix(self, tmp_path):
        root = save_set(tmp_path, image="images/{}.bmp")
        (root / "labels" / "notes.txt").write_text("notes")
        assert_is_the_set(label_maps(root))

    def test_a_zip(self, tmp_path):
        root = save_set(tmp_path / "pics")
        with zipfile.ZipFile(tmp_path / "pics.zip", "w") as archive:
            for path in sorted(root.rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path))
        assert_is_the_set(label_maps(tmp_path / "pics.zip"))

    @pytest.mark.parametrize(
        ("image", "label"),
        [
            ("{split}/images/{i}.png", "{split}/labels/{i}.png"),
            ("images/{split}/{i}.png", "labels/{split}/{i}.png"),
            ("set/{split}/images/{i}.png", "set/{split}/labels/{i}.png"),
            ("set/images/{split}/{i}.png", "set/labels/{split}/{i}.png"),
        ],
    )
    def test_splits_outside_and_inside(self, tmp_path, image, label):
        for split, rows in (("train", (0, 1, 2)), ("val", (3, 4))):
            for i in rows:
                names = (layout.format(split=split, i=i) for layout in (image, label))
                save(tmp_path, **dict(zip(names, (PICTURES[i], MAPS[i]), strict=True)))
        assert_is_the_set(label_maps(tmp_path), (0, 1, 2))
        assert_is_the_set(label_maps(tmp_path, split="val"), (3, 4))
        assert_is_the_set(label_maps(tmp_path, split="all"))
        text = "has no such folder, only train, val: set split=train or split=val or split=all."
        with pytest.raises(OptionError, match=re.escape(text)) as raised:
            label_maps(tmp_path, split="test")
        for fix in raised.value.fixes:
            assert len(label_maps(tmp_path, **fix)) in (2, 3, 5)

    def test_as_in_cityscapes(self, tmp_path):
        root = save_set(
            tmp_path,
            "leftImg8bit/train/aachen/{}_leftImg8bit.png",
            "gtFine/train/aachen/{}_gtFine_labelIds.png",
        )
        save(root, **{f"gtFine/train/aachen/{i}_gtFine_color.png": PICTURES[i] for i in range(5)})
        options = {
            "image_folder": "leftImg8bit",
            "map_folder": "gtFine",
            "image_ending": "_leftImg8bit",
            "map_ending": "_gtFine_labelIds",
        }
        assert_is_the_set(label_maps(root, **options))

    def test_as_in_ade20k(self, tmp_path):
        root = save_set(tmp_path, "images/training/{}.png", "annotations/training/{}.png")
        assert_is_the_set(label_maps(root, map_folder="annotations", split="training"))

    def test_a_palette_is_read_as_indices(self, tmp_path):
        root = save_set(tmp_path)
        for path in (root / "labels").iterdir():
            with Image.open(path) as image:
                indexed = image.copy()
            indexed.putpalette(bytes(range(255, -1, -1)) * 3)
            indexed.save(path)
            with Image.open(path) as image:
                assert image.mode == "P"
        assert_is_the_set(label_maps(root))

    def test_more_than_256_labels(self, tmp_path):
        root = save_set(tmp_path)
        large = MAPS.astype(np.uint16) * 500
        save(root, **{f"labels/{i}.png": large[i] for i in range(5)})
        source = label_maps(root, num_labels=3001)
        batch = contents(source)
        assert batch["label_map"].dtype == source.spec["label_map"].dtype == np.int32
        np.testing.assert_array_equal(batch["label_map"], large)

    def test_channels(self, tmp_path):
        source = label_maps(save_set(tmp_path), channels=1)
        assert source.spec.shape == (6, 8, 1)
        np.testing.assert_array_equal(contents(source)["label_map"], MAPS)

    def test_fingerprints_tell_sets_apart(self, tmp_path):
        root = save_set(tmp_path)
        before = label_maps(root).fingerprint()
        assert before == label_maps(root).fingerprint()
        assert before != label_maps(root, ignore=6).fingerprint()
        save(root, **{"labels/3.png": MAPS[0]})
        assert before != label_maps(root).fingerprint()


class TestIndices:
    @pytest.mark.parametrize("resolution", [3, 5, 16])
    def test_resizing_makes_no_new_index(self, tmp_path, resolution):
        # A map of 0 and 6 alone: anything between would be interpolated.
        root = save(tmp_path, **{f"images/{i}.png": PICTURES[i] for i in range(5)})
        sparse = np.where(MAPS > 3, 6, 0).astype(np.uint8)
        save(root, **{f"labels/{i}.png": sparse[i] for i in range(5)})
        source = label_maps(root, resolution=resolution)
        batch = contents(source)
        assert batch["label_map"].shape == (5, resolution, resolution)
        assert set(np.unique(batch["label_map"])) == {0, 6}
        for x in Pipeline(source, 0, flip=True, jitter=4).batch(0, 40)["label_map"]:
            assert set(np.unique(x)) <= {0, 6}

    def test_the_central_square_is_that_of_the_picture(self, tmp_path):
        batch = contents(label_maps(save_set(tmp_path), resolution=6))
        np.testing.assert_array_equal(batch["image"], PICTURES[:, :, 1:7])
        np.testing.assert_array_equal(batch["label_map"], MAPS[:, :, 1:7])

    def test_ignored_pixels_are_one_further_label(self, tmp_path):
        root = save_set(tmp_path)
        holes = MAPS.copy()
        holes[:, 2, 3] = 255
        save(root, **{f"labels/{i}.png": holes[i] for i in range(5)})
        source = label_maps(root, ignore=255)
        assert source.spec["label_map"].number == 8
        np.testing.assert_array_equal(
            contents(source)["label_map"], np.where(holes == 255, 7, holes)
        )

    def test_an_ignored_index_may_be_one_of_the_labels(self):
        options = Options(num_labels=7, ignore=2)
        np.testing.assert_array_equal(
            labelled(MAPS[0], options, ""), np.where(MAPS[0] == 2, 7, MAPS[0])
        )


class TestArrays:
    def test_pictures_and_maps(self, tmp_path):
        for name in ("labels", "label_maps"):
            np.savez(tmp_path / "a.npz", images=PICTURES, **{name: MAPS})
            assert_is_the_set(label_maps(tmp_path / "a.npz"))
        np.savez(tmp_path / "b.npz", images=PICTURES, labels=MAPS)
        before = label_maps(tmp_path / "b.npz").fingerprint()
        assert before == label_maps(tmp_path / "a.npz").fingerprint()

    def test_encoded_pictures(self, tmp_path, png, both_ways):
        files = [png(picture) for picture in PICTURES]
        offsets = np.cumsum([0, *map(len, files)])
        data = np.frombuffer(b"".join(files), np.uint8)
        np.savez(tmp_path / "a.npz", data=data, offsets=offsets, labels=MAPS)
        assert_is_the_set(label_maps(tmp_path / "a.npz"))
        small = label_maps(tmp_path / "a.npz", resolution=6)
        np.testing.assert_array_equal(contents(small)["label_map"], MAPS[:, :, 1:7])

    @pytest.mark.parametrize(
        ("members", "text", "mended"),
        [
            (
                {"images": PICTURES},
                "holds images; label maps need `label_maps` (or `labels`) [N, H, W] beside `images` [N,",
                {"label_maps": MAPS},
            ),
            ({"labels": MAPS}, "holds labels; label maps need", {"images": PICTURES}),
            (
                {"images": PICTURES, "labels": MAPS[:4]},
                "holds 4 label maps for 5 pictures; give one for each",
                {"labels": MAPS},
            ),
            (
                {"images": PICTURES, "labels": MAPS[0]},
                "its label maps are uint8 of shape [6, 8]; they must be whole numbers [N, H, W]",
                {"labels": MAPS},
            ),
            (
                {"images": PICTURES, "labels": MAPS / 1},
                "its label maps are float64 of shape [5, 6, 8]; they must be whole numbers [N, H, W]",
                {"labels": (MAPS / 1).astype(int)},
            ),
            (
                {"images": PICTURES, "labels": MAPS[..., None]},
                "of shape [5, 6, 8, 1]; they must be whole numbers [N, H, W]: label_maps[..., 0]",
                {"labels": MAPS[..., None][..., 0]},
            ),
            (
                {"images": PICTURES, "labels": HUGE},
                "hold numbers up to 1099511627782; number the labels from 0 without gaps: numpy.unique(label_maps, ",
                {"labels": np.unique(HUGE, return_inverse=True)[1].reshape(HUGE.shape)},
            ),
            (
                {"images": PICTURES, "labels": MAPS[:, :5]},
                "picture number 0 is 6x8, but its label map is 5x8; bring both to one size",
                {"labels": MAPS},
            ),
        ],
    )
    def test_refused(self, tmp_path, members, text, mended):
        np.savez(tmp_path / "a.npz", **members)
        with pytest.raises(ValueError, match=re.escape(text)):
            label_maps(tmp_path / "a.npz")
        np.savez(tmp_path / "a.npz", **members | mended)
        assert_is_the_set(label_maps(tmp_path / "a.npz"))

    @pytest.mark.parametrize("options", [{}, {"num_labels": 0}, {"ignore": 7}])
    def test_indices_below_zero(self, tmp_path, options):
        """-1 was the value of `ignore` that means none, so such pixels got a label that there was not."""
        maps = MAPS.astype(np.int16)
        maps[0, 2, 3] = -1
        np.savez(tmp_path / "a.npz", images=PICTURES, labels=maps)
        text = "the index -1, but indices are from 0; write 7 for pixels without a label"
        with pytest.raises(OptionError, match=text) as raised:
            label_maps(tmp_path / "a.npz", **options)
        fixes = raised.value.fixes or ({},)
        maps[0, 2, 3] = 7
        np.savez(tmp_path / "a.npz", images=PICTURES, labels=maps)
        source = label_maps(tmp_path / "a.npz", **options | fixes[0])
        assert source.spec["label_map"].number == 8
        np.testing.assert_array_equal(contents(source)["label_map"], maps)


def test_digits_and_their_ink():
    source = open_source("label_maps")
    digits = open_source("digits", resolution=32)
    field = source.spec["label_map"]
    assert (field.number, field.names[:2]) == (11, ("paper", "ink of 0"))
    batch, plain = source.gather(np.arange(100)), digits.gather(np.arange(100))
    np.testing.assert_array_equal(batch["image"], plain["image"])
    ink = batch["label_map"] > 0
    np.testing.assert_array_equal(ink, plain["image"][..., 0] > 127)
    for labels, label in zip(batch["label_map"], plain["label"], strict=True):
        assert set(np.unique(labels)) == {0, 1 + label}
    assert len(open_source("label_maps", split="test", resolution=16)) == 355


class TestRefused:
    def assert_refused(self, text, path, **options):
        with pytest.raises(ValueError, match=re.escape(text)) as raised:
            label_maps(path, **options).gather(np.arange(1))
        assert "\n" not in str(raised.value)
        return raised.value

    def test_the_number_of_labels_must_be_stated(self, tmp_path):
        root = save_set(tmp_path)
        text = f"num_labels is 0, but it must be the number of labels; the maps of folder {root} have indices from 0"
        error = self.assert_refused(f"{text} to 6: set num_labels=7.", root, num_labels=0)
        (fix,) = error.fixes
        assert_is_the_set(label_maps(root, **fix))
        holes = MAPS[4].copy()
        holes[0] = 255
        save(root, **{"labels/4.png": holes})
        error = self.assert_refused(
            "from 0 to 255: set num_labels=7 and ignore=255 or num_labels=256.", root, num_labels=0
        )
        assert [label_maps(root, **fix).spec["label_map"].number for fix in error.fixes] == [8, 256]

    def test_an_index_that_is_no_label(self, tmp_path):
        root = save_set(tmp_path)
        text = "has the index 6, but there are 6 labels, from 0 to 5: set num_labels=7 or ignore=6."
        error = self.assert_refused(f"folder {root}: labels/0.png {text}", root, num_labels=6)
        found = [
            label_maps(root, **{"num_labels": 6} | fix).spec["label_map"].number
            for fix in error.fixes
        ]
        assert found == [7, 7]

    def test_maps_in_colours(self, tmp_path):
        root = save(save_set(tmp_path), **{"labels/0.png": PICTURES[0]})
        text = "labels/0.png is a picture of colours (mode RGB), but a label map has one index for each pixel; save it"
        self.assert_refused(text, root)
        assert_is_the_set(label_maps(save(root, **{"labels/0.png": MAPS[0]})))

    def test_maps_in_a_format_with_loss(self, tmp_path):
        root = save_set(tmp_path, label="labels/{}.jpg")
        text = "labels/0.jpg is a label map in a format that changes its indices; save label maps as PNG."
        self.assert_refused(text, root)
        for i in range(5):
            (root / "labels" / f"{i}.jpg").unlink()
        assert_is_the_set(label_maps(save(root, **{f"labels/{i}.png": MAPS[i] for i in range(5)})))

    def test_unpaired_files(self, tmp_path):
        root = save_set(tmp_path)
        (root / "labels" / "1.png").unlink()
        text = (
            f"folder {root}: images/1.png has no partner; each picture in images needs one of the same name in labels,"
            " and each in labels one in images"
        )
        self.assert_refused(text, root)
        assert_is_the_set(label_maps(save(root, **{"labels/1.png": MAPS[1]})))

    def test_sizes_that_differ(self, tmp_path, both_ways):
        root = save(save_set(tmp_path), **{"labels/0.png": MAPS[0][:5]})
        self.assert_refused(
            "images/0.png is 6x8, but labels/0.png is 5x8; bring a picture and it", root
        )
        root = save(root, **{"images/0.png": PICTURES[0][:5]})
        with pytest.raises(
            OptionError, match=r"its pictures differ in size \(0 is 5x8, 1 i"
        ) as raised:
            label_maps(root).gather(np.arange(5))
        (fix,) = raised.value.fixes
        assert label_maps(root, **fix).gather(np.arange(5))["label_map"].shape == (5, 5, 5)

    @pytest.mark.parametrize("side", ["images", "labels"])
    def test_a_broken_file(self, tmp_path, both_ways, side):
        root = save_set(tmp_path)
        (root / side / "0.png").write_bytes(b"junk")
        what = "picture images/0.png" if side == "images" else "the label map labels/0.png"
        text = f"{what} is broken (not a picture that Pillow can read): repair it, or remove"
        self.assert_refused(text, root)
        pixels = PICTURES[0] if side == "images" else MAPS[0]
        assert_is_the_set(label_maps(save(root, **{f"{side}/0.png": pixels})))

    def test_folders_of_other_names(self, tmp_path):
        root = save_set(tmp_path, label="annotations/{}.png")
        text = (
            f"folder {root}: needs pictures in a folder images and label maps of the same names in a folder labels; it"
            " has the folders annotations: set map_folder=annotations."
        )
        error = self.assert_refused(text, root)
        assert_is_the_set(label_maps(root, **error.fixes[0]))

    def test_folders_of_two_other_names(self, tmp_path):
        root = save_set(tmp_path, "train/{}.png", "trainannot/{}.png")
        text = "has the folders train, trainannot: set image_folder=FOLDER and map_folder=FOLDER."
        self.assert_refused(text, root)
        options = {"image_folder": "train", "map_folder": "trainannot"}
        assert_is_the_set(label_maps(root, **options))

    def test_endings_that_no_file_has(self, tmp_path):
        root = save_set(tmp_path, label="labels/{}_labelIds.png")
        text = (
            f"map_ending is '_map', but folder {root} has no such name in its folder labels, where the first is"
            " labels/0_labelIds.png; give the end that the names have before the suffix, or leave it out."
        )
        self.assert_refused(text, root, map_ending="_map")
        assert_is_the_set(label_maps(root, map_ending="_labelIds"))
        self.assert_refused("image_ending is '_photo', but", root, image_ending="_photo")
        assert_is_the_set(label_maps(save_set(tmp_path / "other")))

    def test_a_set_without_splits(self, tmp_path):
        root = save_set(tmp_path)
        text = "has no folder of that name, so it is not divided into splits: set split=train."
        (fix,) = self.assert_refused(text, root, split="val").fixes
        assert_is_the_set(label_maps(root, **fix))

    def test_two_files_of_one_name(self, tmp_path):
        root = save_set(tmp_path)
        save(root, **{"images/1.bmp": PICTURES[1]})
        text = "images/1.bmp and images/1.png have the same name, so the partner of either is not known; rename or"
        self.assert_refused(text, root)
        (root / "images/1.bmp").unlink()
        assert_is_the_set(label_maps(root))

    def test_one_folder_for_both(self, tmp_path):
        root = save_set(tmp_path)
        text = "in a folder images; it has the folders labels: set image_folder=FOLDER and map_folder=FOLDER."
        error = self.assert_refused(text, root, map_folder="images")
        fix = {"image_folder": "images", "map_folder": "labels"}
        assert error.fixes[0].keys() == fix.keys()
        assert_is_the_set(label_maps(root, **fix))

    def test_a_path_that_there_is_not(self, tmp_path):
        root = save_set(tmp_path / "pics")
        text = "there is no such folder or zip file: set path=PATH."
        (fix,) = self.assert_refused(text, tmp_path / "nowhere").fixes
        assert_is_the_set(label_maps(**dict.fromkeys(fix, root)))


@pytest.mark.skipif("JAXGAN_TEST_DATA" not in os.environ, reason="JAXGAN_TEST_DATA is not set")
def test_camvid(tmp_path):
    """As an array file and as folders of PNGs it is the same set; skies are above roads, and brighter."""
    path = Path(os.environ["JAXGAN_TEST_DATA"]) / "camvid" / "camvid_192x256_val.npz"
    # 11 is "unlabelled", which becomes a further label, of the same number.
    options = {"num_labels": 11, "ignore": 11, "resolution": 64}
    source = label_maps(path, **options)
    assert (source.spec.shape, source.spec["label_map"].number, len(source)) == (
        (64, 64, 3),
        12,
        101,
    )
    whole = label_maps(path, **options | {"resolution": 0}).gather(np.arange(8))
    for i in range(8):
        names = f"images/{i:03d}.png", f"labels/{i:03d}.png"
        arrays = whole["image"][i], whole["label_map"][i]
        save(tmp_path, **dict(zip(names, arrays, strict=True)))
    folders, expected = contents(label_maps(tmp_path, **options)), source.gather(np.arange(8))
    for name, array in folders.items():
        np.testing.assert_array_equal(array, expected[name])
    batch = Pipeline(source, seed=0, flip=True, jitter=8).batch(0, 50)
    assert set(np.unique(batch["label_map"])) <= set(range(12))
    sky, road = (batch["label_map"] == label for label in (0, 3))
    assert batch["image"][sky].mean() > 1.5 * batch["image"][road].mean()
    rows = np.arange(64)[None, :, None] + 0 * sky
    assert rows[sky].mean() + 20 < rows[road].mean()
