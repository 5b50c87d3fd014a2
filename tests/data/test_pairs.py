"""Pairs of pictures in every layout that they come in, in both directions, and what is wrong with a set of them."""

import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from saving import save

from jaxgan.data import Pipeline, open_source
from jaxgan.data.encoded import SizesDiffer
from jaxgan.data.pictures import colours
from jaxgan.spec import Field, Spec

RANDOM = np.random.default_rng(0)
A = RANDOM.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
B = RANDOM.integers(0, 256, (5, 6, 8, 3), dtype=np.uint8)
MAPS = RANDOM.integers(0, 12, (5, 6, 8)).astype(np.uint8)


def spec_of(image, size, condition):
    return Spec({"image": Field("image", image), "condition": Field("image", condition)}, size)


def pairs(path="", **options):
    return open_source("pairs", path=str(path), **options)


def save_array(path, **members):
    np.savez(path, **members)
    return path


def packed(png, images):
    files = [png(image) for image in images]
    offsets = np.cumsum([0, *map(len, files)])
    return {"data": np.frombuffer(b"".join(files), np.uint8), "offsets": offsets}


def in_folders(root):
    return save(
        root, **{f"{side}/{i}.png": x[i] for side, x in (("A", A), ("B", B)) for i in range(5)}
    )


def side_by_side(root):
    return save(root, **{f"{i}.png": np.concatenate([A[i], B[i]], axis=1) for i in range(5)})


@pytest.mark.usefixtures("both_ways")
class TestLayouts:
    @pytest.mark.parametrize("layout", [in_folders, side_by_side])
    @pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
    def test_folders_in_both_directions(self, tmp_path, layout, direction):
        source = pairs(layout(tmp_path / "pics"), direction=direction)
        batch = source.gather(np.array([3, 0]))
        a, b = ("condition", "image") if direction == "AtoB" else ("image", "condition")
        np.testing.assert_array_equal(batch[a], A[[3, 0]])
        np.testing.assert_array_equal(batch[b], B[[3, 0]])
        assert source.spec == spec_of((6, 8, 3), 5, (6, 8, 3))
        assert source.summary == f"folder {tmp_path}/pics: 5 pairs, 6x8x3 from 6x8x3"

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_a_zip_and_its_splits(self, tmp_path, wrapped):
        folder = side_by_side(tmp_path / "pics" / "train")
        save(tmp_path / "pics", **{"test/0.png": np.concatenate([B[0], A[0]], axis=1)})
        with zipfile.ZipFile(tmp_path / "pics.zip", "w") as archive:
            for path in sorted(folder.parent.rglob("*.png")):
                archive.write(path, path.relative_to(tmp_path if wrapped else folder.parent))
        assert pairs(tmp_path / "pics.zip").spec.size == 5
        np.testing.assert_array_equal(pairs(tmp_path / "pics.zip", split="test")[0]["image"], A[0])

    def test_two_folders_in_each_split_with_other_endings(self, tmp_path):
        root = in_folders(tmp_path / "val")
        for path in (root / "B").iterdir():
            path.rename(path.with_suffix(".bmp"))
        save(tmp_path, **{"train/A/7.png": A[0], "train/B/7.png": B[0]})
        assert pairs(tmp_path).spec.size == 1
        save(root, **{"elsewhere/1.png": A[0]})
        source = pairs(tmp_path, split="val")
        np.testing.assert_array_equal(source.images(), B)
        assert pairs(tmp_path, split="all").spec.size == 6

    def test_two_forms_of_accented_letters_are_one_name(self, tmp_path):
        """As macOS writes them, and as other systems do."""
        save(tmp_path, **{"A/e\u0301.png": A[0], "B/\u00e9.png": B[0]})
        np.testing.assert_array_equal(pairs(tmp_path).images(), B[:1])

    @pytest.mark.parametrize("folders", [("a", "b"), ("trainA", "trainB"), ("train/a", "train/B")])
    def test_sides_by_another_name_are_not_cut_in_two(self, tmp_path, folders):
        save(tmp_path, **{f"{folder}/0.png": A[0] for folder in folders})
        with pytest.raises(
            ValueError, match=r"has a folder .*, but the sides of pairs are called A .*; rename it"
        ):
            pairs(tmp_path)
        for folder, side in zip(folders, "AB", strict=True):
            renamed = tmp_path / (f"{side}_" if "/" not in folder else f"train/{side}_")
            (tmp_path / folder).rename(renamed)
            renamed.rename(renamed.with_name(side))
        source = pairs(tmp_path)
        assert source.spec == spec_of((6, 8, 3), 1, (6, 8, 3))

    def test_conditions_that_are_no_pictures(self, tmp_path):
        np.savez(tmp_path / "flat.npz", images=B, conditions=np.arange(len(B)))
        with pytest.raises(ValueError, match=r"its conditions have shape \[5\]; give pictures"):
            pairs(tmp_path / "flat.npz")
        np.savez(tmp_path / "flat.npz", images=B, conditions=A)
        np.testing.assert_array_equal(pairs(tmp_path / "flat.npz")[1]["condition"], A[1])

    def test_pictures_of_different_pairs_are_brought_to_one_size(self, tmp_path):
        save(
            tmp_path,
            **{"A/0.png": A[0], "B/0.png": B[0], "A/1.png": A[1][:4, :4], "B/1.png": B[1][:4, :4]},
        )
        text = "differ in size (0 is 6x8, 1 is 4x4), and no resolution is set: set resolution=6."
        with pytest.raises(SizesDiffer, match=re.escape(text)) as raised:
            pairs(tmp_path).gather(np.arange(2))
        (fix,) = raised.value.fixes
        assert pairs(tmp_path, **fix).gather(np.arange(2))["image"].shape == (2, 6, 6, 3)
        batch = pairs(tmp_path, resolution=4).gather(np.arange(2))
        np.testing.assert_array_equal(batch["condition"][1], A[1][:4, :4])
        assert batch["image"].shape == (2, 4, 4, 3)

    def test_channels(self, tmp_path, both_ways):
        grey = {f"A/{i}.png": A[i, ..., 0] for i in range(5)}
        save(tmp_path, **grey, **{f"B/{i}.png": B[i] for i in range(5)})
        source = pairs(tmp_path)
        # Of a set too large to look at, colours are expected.
        assert source.spec["condition"].shape == (6, 8, 1 if both_ways == "in memory" else 3)
        np.testing.assert_array_equal(source[2]["condition"][..., 0], A[2, ..., 0])
        assert pairs(tmp_path, channels=1).spec == spec_of((6, 8, 1), 5, (6, 8, 1))

    def test_encoded_pictures_and_class_maps(self, tmp_path, png):
        path = save_array(tmp_path / "a.npz", **packed(png, B), labels=MAPS)
        batch = pairs(path).gather(np.arange(5))
        np.testing.assert_array_equal(batch["image"], B)
        np.testing.assert_array_equal(batch["condition"], colours()[MAPS])
        # Maps have no classes between classes, at any size.
        for resolution in (3, 16):
            small = pairs(path, resolution=resolution)
            assert small.spec == spec_of((resolution,) * 2 + (3,), 5, (resolution,) * 2 + (3,))
            found = np.unique(small.gather(np.arange(5))["condition"].reshape(-1, 3), axis=0)
            assert {tuple(c) for c in found} <= {tuple(c) for c in colours()[:12]}
        np.testing.assert_array_equal(
            pairs(path, resolution=6)[4]["condition"], colours()[MAPS[4, :, 1:7]]
        )

    def test_fingerprints_tell_sets_apart(self, tmp_path):
        source = pairs(in_folders(tmp_path))
        assert source.fingerprint() == pairs(tmp_path).fingerprint()
        assert source.fingerprint() != pairs(tmp_path, direction="BtoA").fingerprint()
        before = source.fingerprint()
        save(tmp_path, **{"B/3.png": B[0]})
        assert pairs(tmp_path).fingerprint() != before


class TestArrays:
    def test_pictures_and_conditions(self, tmp_path):
        path = save_array(tmp_path / "a.npz", images=B, conditions=A[..., 0])
        batch = pairs(path).gather(np.arange(5))
        np.testing.assert_array_equal(batch["image"], B)
        np.testing.assert_array_equal(batch["condition"], A[..., :1])
        assert pairs(path, direction="BtoA").spec == spec_of((6, 8, 1), 5, (6, 8, 3))

    def test_pictures_and_class_maps(self, tmp_path):
        path = save_array(tmp_path / "a.npz", images=B, labels=MAPS)
        np.testing.assert_array_equal(pairs(path)[1]["condition"], colours()[MAPS[1]])

    def test_colours_are_as_many_as_classes(self):
        assert len(np.unique(colours(), axis=0)) == 256
        assert colours()[7].tolist() == [128, 128, 128]


class TestDigits:
    def test_outlines_of_digits(self):
        source = pairs()
        assert source.spec == spec_of((32, 32, 1), 1442, (32, 32, 1))
        assert source.summary == "outlines of digits (train): 1,442 pairs, 32x32x1 from 32x32x1"
        batch = source.gather(np.arange(64))
        line, ink = batch["condition"] == 255, batch["image"] > 127
        assert np.isin(batch["condition"], (0, 255)).all()
        assert ink[line].all()
        assert 0.05 < line.mean() < ink.mean()
        # Whatever borders on paper is outline, whatever does not is none.
        inner = ink[:, 1:-1, 1:-1] & ~line[:, 1:-1, 1:-1]
        for i, j in ((0, 1), (2, 1), (1, 0), (1, 2)):
            assert ink[:, i : i + 30, j : j + 30][inner].all()

    def test_splits_and_resolution(self):
        assert pairs(split="test", resolution=16).spec == spec_of((16, 16, 1), 355, (16, 16, 1))


class TestRefused:
    def assert_refused(self, text, path="", **options):
        with pytest.raises(ValueError, match=re.escape(text)) as raised:
            pairs(path, **options).gather(np.arange(1))
        assert "\n" not in str(raised.value)
        return raised.value

    def test_direction(self, tmp_path):
        text = "direction is 'AtoC', but it must be one of AtoB, BtoA: set direction=AtoB."
        root = in_folders(tmp_path)
        (fix,) = self.assert_refused(text, root, direction="AtoC").fixes
        np.testing.assert_array_equal(pairs(root, **fix)[0]["image"], B[0])

    def test_a_path_that_there_is_not(self, tmp_path):
        root = in_folders(tmp_path / "pics")
        text = "there is no such folder, zip or .npz of pairs; the pix2pix authors' sets, such as facades.tar.gz, are"
        (fix,) = self.assert_refused(text, tmp_path / "nowhere").fixes
        assert len(pairs(**dict.fromkeys(fix, root))) == 5

    def test_unpaired_files(self, tmp_path):
        root = in_folders(tmp_path)
        (root / "A" / "1.png").unlink()
        (root / "B" / "3.png").unlink()
        text = (
            f"folder {root}: A/3.png, B/1.png have no partner; each picture in A needs one of the same name in B, and"
            " each in B one in A"
        )
        self.assert_refused(text, root)
        save(root, **{f"B/x{i}.png": B[0] for i in range(1200)})
        self.assert_refused("A/3.png, B/1.png, B/x0.png and 1,199 more have no partner;", root)
        for path in root.glob("B/x*.png"):
            path.unlink()
        assert len(pairs(in_folders(root))) == 5

    def test_one_folder_without_the_other(self, tmp_path):
        root = save(tmp_path, **{"A/0.png": A[0]})
        text = "A/0.png has no partner; each picture in A needs one of the same name in B"
        self.assert_refused(text, root)
        assert len(pairs(save(root, **{"B/0.png": B[0]}))) == 1

    @pytest.mark.parametrize("way", ["rename", "remove"])
    def test_two_files_of_one_name(self, tmp_path, way):
        root = save(in_folders(tmp_path), **{"A/1.bmp": A[0]})
        text = "A/1.bmp and A/1.png have the same name, so the partner of either is not known; rename or remove one"
        self.assert_refused(text, root)
        if way == "remove":
            (root / "A/1.bmp").unlink()
        else:
            (root / "A/1.bmp").rename(root / "A/9.bmp")
            save(root, **{"B/9.png": B[0]})
        assert len(pairs(root)) == (5 if way == "remove" else 6)

    @pytest.mark.parametrize("outer", ["", "pics/"])
    def test_splits_inside(self, tmp_path, outer):
        """The way out is followed."""
        names = {"A": f"{outer}A/Train/0.png", "B": f"{outer}B/Train/0.png"}
        root = save(tmp_path, **{names["A"]: A[0], names["B"]: B[0]})
        text = (
            f"has its splits inside of A ({names['A']}); put them outside, as in train/A, train/B,"
        )
        self.assert_refused(text, root)
        for side, name in names.items():
            target = root / outer / "train" / side / "0.png"
            target.parent.mkdir(parents=True)
            (root / name).rename(target)
        np.testing.assert_array_equal(pairs(root).images(), B[:1])

    def test_sides_of_different_sizes(self, tmp_path):
        root = save(tmp_path, **{"A/0.png": A[0], "B/0.png": B[0][:5]})
        text = "A/0.png is 6x8, but B/0.png is 5x8; bring both pictures of a pair to one size"
        self.assert_refused(text, root)
        assert pairs(save(root, **{"B/0.png": B[0]})).spec.shape == (6, 8, 3)

    def test_odd_width(self, tmp_path):
        root = save(tmp_path, **{"0.png": A[0][:, :7]})
        text = (
            "picture 0.png is 7 pixels wide, but a pair side by side, A left and B right, has an even width; put the"
            " pictures into folders A and B if that is meant"
        )
        self.assert_refused(text, root)
        (root / "A").mkdir()
        (root / "0.png").rename(root / "A/0.png")
        source = pairs(save(root, **{"B/0.png": B[0][:, :7]}))
        assert source.spec == spec_of((6, 7, 3), 1, (6, 7, 3))

    @pytest.mark.parametrize("way", ["repair", "remove"])
    def test_a_broken_picture(self, tmp_path, both_ways, way):
        root = in_folders(tmp_path)
        (root / "B" / "0.png").write_bytes(b"junk")
        text = "picture B/0.png is broken (not a picture that Pillow can read): repair it, or remove the pair"
        self.assert_refused(text, root)
        if way == "remove":
            for side in "AB":
                (root / side / "0.png").unlink()
        else:
            save(root, **{"B/0.png": B[0]})
        assert len(pairs(root).images()) == (4 if way == "remove" else 5)

    @pytest.mark.parametrize(
        ("members", "text", "mended"),
        [
            (
                {"images": B},
                "holds images; pairs need `conditions` [N, H, W, C] (or class maps, `labels` [N, H, W]) beside",
                {"conditions": A},
            ),
            ({"conditions": A}, "holds conditions; pairs need", {"images": B}),
            (
                {"images": B, "conditions": A[:4]},
                "holds 4 conditions for 5 pictures; give one for each",
                {"conditions": A},
            ),
            (
                {"images": B, "conditions": A[:, :5]},
                "its conditions are 5x8, but its pictures 6x8; bring both to one size",
                {"conditions": A},
            ),
            (
                {"images": B, "labels": np.arange(5)},
                "`labels` are int64 of shape [5]; as conditions they must be class maps [N, H, W]",
                {"labels": MAPS},
            ),
            (
                {"images": B, "labels": MAPS.astype(np.int64) - 1},
                "`labels` are numbers from -1 to 10; as conditions they must be class maps [N, H, W] of whole numbers"
                " from 0 to 255",
                {"labels": MAPS.astype(np.int64)},
            ),
            (
                {"images": B, "labels": MAPS[..., None]},
                "whole numbers from 0 to 255: labels[..., 0]",
                {"labels": MAPS[..., None][..., 0]},
            ),
        ],
    )
    def test_arrays(self, tmp_path, members, text, mended):
        self.assert_refused(text, save_array(tmp_path / "a.npz", **members))
        source = pairs(save_array(tmp_path / "a.npz", **members | mended))
        np.testing.assert_array_equal(source.images(), B)
        assert source.spec == spec_of((6, 8, 3), 5, (6, 8, 3))

    def test_packed_pictures_of_another_size(self, tmp_path, png):
        path = save_array(tmp_path / "a.npz", **packed(png, B[:, :5]), labels=MAPS)
        self.assert_refused(
            "picture number 0 is 5x8, but its condition is 6x8; bring both to one size", path
        )
        path = save_array(tmp_path / "a.npz", **packed(png, B), labels=MAPS)
        np.testing.assert_array_equal(pairs(path).images(), B)

    def test_splits_of_an_array_file(self, tmp_path):
        path = save_array(tmp_path / "a.npz", images=B, conditions=A)
        text = "split is 'val', but it must be one of train, all: set split="
        (fix,) = self.assert_refused(text, path, split="val").fixes
        assert len(pairs(path, **fix)) == 5


@pytest.mark.skipif("JAXGAN_TEST_DATA" not in os.environ, reason="JAXGAN_TEST_DATA is not set")
def test_camvid():
    """Roads are below skies, and darker."""
    path = Path(os.environ["JAXGAN_TEST_DATA"]) / "camvid" / "camvid_192x256_val.npz"
    source = pairs(path, resolution=64)
    assert source.spec == spec_of((64, 64, 3), 101, (64, 64, 3))
    batch = Pipeline(source, seed=0, flip=True, jitter=8).batch(0, 50)
    sky, road = ((batch["condition"] == colours()[c]).all(axis=-1) for c in (0, 3))
    assert batch["image"][sky].mean() > 1.5 * batch["image"][road].mean()
    rows = np.arange(64)[None, :, None] + 0 * sky
    assert rows[sky].mean() + 20 < rows[road].mean()
