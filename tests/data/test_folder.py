"""Folders and zips of pictures: what is read, in which order and class, and what is refused."""

import logging
import re
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import Pipeline, encoded, open_source
from jaxgan.options import OptionError


def folder(path, **options):
    return open_source("folder", path=str(path), **options)


def contents(source):
    """Everything in a source, as one batch."""
    return source.gather(np.arange(len(source)))


def break_picture(path):
    """Cuts the end off: the header is whole, decoding fails."""
    path.write_bytes(path.read_bytes()[:-60])


class TestWhatIsRead:
    def test_classes_are_the_folders_and_order_is_by_name(self, save_pictures, both_ways):
        root, pixels = save_pictures("dog/b.png", "cat/z.png", "dog/a/deep.PNG", "cat/10.png")
        source = folder(root)
        names = ["cat/10.png", "cat/z.png", "dog/a/deep.PNG", "dog/b.png"]
        batch = contents(source)
        np.testing.assert_array_equal(batch["image"], [pixels[name] for name in names])
        assert batch["label"].tolist() == [0, 0, 1, 1]
        assert batch["label"].dtype == np.int32
        assert source.classes == ("cat", "dog")
        assert (source.spec.shape, source.spec.num_classes, source.spec.size) == ((12, 10, 3), 2, 4)
        assert source.summary == f"folder {root}: 4 pictures, 12x10x3, 2 classes"
        assert source.in_memory == (both_ways == "in memory")

    def test_a_picture_beside_the_classes_is_told(self, save_pictures, caplog):
        """It drops all labels. The way out is followed: without it, the folders are classes."""
        root, _ = save_pictures("preview.png", "cat/z.png", "dog/a.png")
        assert folder(root).spec.num_classes is None
        assert caplog.text.endswith(
            f"folder {root}: preview.png lies beside the folders cat, dog, so these are no classes and the set has no"
            " labels; move it into one of them, or remove it\n"
        )
        caplog.clear()
        assert folder(root, labels=False).spec.num_classes is None
        (root / "preview.png").rename(root / "cat/preview.png")
        assert folder(root).classes == ("cat", "dog")
        for path in root.rglob("cat/*"):
            path.rename(root / path.name)  # one folder is no classes anyway
        assert folder(root).spec.num_classes is None
        assert caplog.text == ""

    def test_zip_is_the_same(self, save_pictures, tmp_path, both_ways):
        root, _ = save_pictures("dog/b.png", "cat/z.png", "dog/a.png")
        (root / "__MACOSX/cat").mkdir(parents=True)
        (root / "__MACOSX/cat/._z.png").write_bytes(b"no picture")
        # With everything in one folder, as archives usually are.
        archive = shutil.make_archive(str(tmp_path / "pics"), "zip", tmp_path, "pics")
        source = folder(archive)
        expected = contents(folder(root))
        for name, value in contents(source).items():
            np.testing.assert_array_equal(value, expected[name])
        assert source.classes == ("cat", "dog")
        assert source.summary == f"zip {archive}: 3 pictures, 12x10x3, 2 classes"

    def test_what_is_no_picture_is_ignored(self, save_pictures):
        root, _ = save_pictures("a.png", ".hidden.png", ".thumbnails/a.png")
        (root / "notes.txt").write_text("notes")
        (root / "labels.json").write_text("{}")
        source = folder(root)
        assert len(source) == 1
        assert source.broken == ()

    def test_no_classes_without_folders_for_all(self, save_pictures):
        root, _ = save_pictures("cat/a.png", "dog/b.png", "c.png")
        assert folder(root).spec.num_classes is None
        assert contents(folder(root)).keys() == {"image"}
        assert folder(root, labels=False).spec.num_classes is None

    def test_one_folder_is_no_class(self, save_pictures):
        root, _ = save_pictures("all/a.png", "all/b.png")
        assert folder(root).spec.num_classes is None

    def test_splits(self, save_pictures):
        root, pixels = save_pictures("train/x/a.png", "train/y/b.png", "test/x/c.png")
        assert len(folder(root)) == 2
        assert folder(root).classes == ("x", "y")
        np.testing.assert_array_equal(
            folder(root, split="test")[0]["image"], pixels["test/x/c.png"]
        )
        assert contents(folder(root, split="all"))["label"].tolist() == [0, 0, 1]

    def test_splits_in_one_folder_as_in_an_archive(self, save_pictures, tmp_path, both_ways):
        """They are splits and no classes, also below a folder that has the name of a class."""
        names = ("train/cat/a.png", "train/dog/b.png", "test/cat/c.png", "test/dog/d.png")
        _, pixels = save_pictures(*(f"dog/{name}" for name in names))
        archive = shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path / "pics")
        for root in (archive, tmp_path / "pics"):
            for split, indices in (("train", [0, 1]), ("test", [2, 3]), ("all", [2, 3, 0, 1])):
                source = folder(root, split=split)
                assert source.classes == ("cat", "dog")
                batch = contents(source)
                expected = [pixels[f"dog/{names[i]}"] for i in indices]
                np.testing.assert_array_equal(batch["image"], expected)
                assert batch["label"].tolist() == [i % 2 for i in indices]

    def test_splits_in_capital_letters_or_called_training(self, save_pictures):
        root, pixels = save_pictures("Train/x/a.png", "training/y/b.png", "TESTING/x/c.png")
        source = folder(root)
        assert source.classes == ("x", "y")
        assert contents(source)["label"].tolist() == [0, 1]
        for split in ("test", "testing", "Test"):
            batch = contents(folder(root, split=split))
            np.testing.assert_array_equal(batch["image"], [pixels["TESTING/x/c.png"]])
        with pytest.raises(
            ValueError, match="has no such folder, only test, train: set split=test"
        ):
            folder(root, split="val")

    def test_one_split_in_a_folder_is_all(self, save_pictures):
        root, _ = save_pictures("pets/test/cat/a.png", "pets/test/dog/b.png")
        assert folder(root).classes == ("cat", "dog")

    def test_domains_as_in_afhq(self, save_pictures, both_ways):
        names = [
            f"{split}/{domain}/{i}.jpg"
            for split, count in (("train", 3), ("val", 1))
            for domain in ("wild", "cat", "dog")
            for i in range(count)
        ]
        root, _ = save_pictures(*names)
        for split, count in (("train", 3), ("val", 1)):
            source = folder(root, split=split)
            label = source.spec["label"]
            assert (label.kind, label.number, label.names) == ("label", 3, ("cat", "dog", "wild"))
            assert contents(source)["label"].tolist() == np.repeat([0, 1, 2], count).tolist()

    def test_a_class_called_train_is_no_split(self, save_pictures):
        root, _ = save_pictures("car/a.png", "train/b.png")
        assert folder(root).classes == ("car", "train")

    def test_a_link_to_a_parent_is_not_followed_for_ever(self, save_pictures):
        root, _ = save_pictures("x/a.png", "y/b.png")
        (root / "x/again").symlink_to(root)
        assert len(folder(root)) == 2

    def test_progress(self, save_pictures):
        root, _ = save_pictures(*(f"{i}.png" for i in range(7)))
        seen = []
        open_source("folder", lambda done, total: seen.append((done, total)), path=str(root))
        assert seen == [(i + 1, 7) for i in range(7)]


class TestSizeAndChannels:
    def test_any_size_becomes_the_resolution(self, save_pictures, tmp_path, both_ways):
        root, _ = save_pictures("a.png", size=(40, 31))
        Image.new("L", (9, 50), 77).save(root / "b.png")
        Image.new("RGBA", (5, 5), (0, 0, 0, 0)).save(root / "c.png")
        source = folder(root, resolution=16)
        assert source.spec.shape == (16, 16, 3)
        images = contents(source)["image"]
        assert np.unique(images[1]).tolist() == [77]
        assert np.unique(images[2]).tolist() == [255]

    def test_grey_sets_have_one_channel(self, tmp_path, both_ways):
        for name, value in (("a", 3), ("b", 200)):
            Image.new("L", (8, 8), value).save(tmp_path / f"{name}.png")
        assert folder(tmp_path).spec.shape == (8, 8, 1)
        assert contents(folder(tmp_path))["image"][:, 0, 0, 0].tolist() == [3, 200]
        rgb = contents(folder(tmp_path, channels=3))["image"]
        assert rgb.shape == (2, 8, 8, 3)
        assert np.unique(rgb[1]).tolist() == [200]

    def test_colour_sets_can_be_grey(self, save_pictures, both_ways):
        root, pixels = save_pictures("a.png")
        image = folder(root, channels=1)[0]["image"]
        expected = np.asarray(Image.fromarray(pixels["a.png"]).convert("L"))
        np.testing.assert_array_equal(image[..., 0], expected)

    def test_different_sizes_need_a_resolution(self, save_pictures, both_ways):
        root, _ = save_pictures("a.png")
        Image.new("RGB", (20, 30)).save(root / "b.png")
        text = (
            f"folder {root}: its pictures differ in size (a.png is 12x10, b.png is 30x20), "
            "and no resolution is set: set resolution=10."
        )
        with pytest.raises(OptionError, match=re.escape(text)) as raised:
            folder(root)
        (fix,) = raised.value.fixes
        assert folder(root, **fix).spec.shape == (10, 10, 3)


class TestBroken:
    def test_skipped_by_name_with_a_count(self, save_pictures, caplog):
        root, pixels = save_pictures("x/a.png", "x/b.png", "y/c.png", "y/d.png")
        break_picture(root / "x/a.png")
        (root / "y/c.png").write_text("not a picture")
        with caplog.at_level(logging.WARNING, "jaxgan.data"):
            source = folder(root)
        assert source.summary == (
            f"folder {root}: 2 pictures, 2 broken ones skipped (x/a.png, y/c.png), "
            "12x10x3, 2 classes"
        )
        assert [name for name, _ in source.broken] == ["x/a.png", "y/c.png"]
        assert source.broken[1][1] == "not a picture that Pillow can read"
        assert [record.getMessage() for record in caplog.records] == [
            f"folder {root}: skipped broken picture {name} ({reason})"
            for name, reason in source.broken
        ]
        batch = contents(source)
        np.testing.assert_array_equal(batch["image"], [pixels["x/b.png"], pixels["y/d.png"]])
        assert batch["label"].tolist() == [0, 1]

    def test_many_are_not_all_named(self, save_pictures, caplog, monkeypatch):
        monkeypatch.setattr(encoded, "MAX_NAMED", 2)
        root, _ = save_pictures("z.png")
        for i in range(5):
            (root / f"{i}.jpg").touch()
        source = folder(root)
        assert "5 broken ones skipped (0.jpg, 1.jpg, 2.jpg, ...)" in source.summary
        assert caplog.messages[-1] == f"folder {root}: skipped 3 more broken pictures"
        assert len(caplog.messages) == 3

    def test_strict_refuses(self, save_pictures, both_ways):
        root, _ = save_pictures("a.png", "b.png", "c.png")
        for name in ("a.png", "b.png"):
            (root / name).write_text("not a picture")
        text = (
            f"folder {root}: picture a.png is broken (not a picture that Pillow can read) "
            "and 1 more; repair or remove it, or skip broken ones: set strict=false."
        )
        with pytest.raises(OptionError, match=re.escape(text)) as raised:
            folder(root, strict=True)
        (fix,) = raised.value.fixes
        assert len(folder(root, **{"strict": True} | fix)) == 1
        for name in ("a.png", "b.png"):
            (root / name).unlink()
        assert len(folder(root, strict=True)) == 1

    def test_all_broken(self, save_pictures, both_ways):
        root, _ = save_pictures("a.png", "b.png")
        for name in ("a.png", "b.png"):
            (root / name).write_bytes(b"")
        text = (
            f"folder {root}: all of its 2 pictures are broken, the first is a.png (not a picture that Pillow can read);"
            " repair them, or copy the set again"
        )
        with pytest.raises(ValueError, match=re.escape(text)):
            folder(root)
        save_pictures("a.png", "b.png")
        assert len(folder(root)) == 2

    def test_far_too_large(self, save_pictures, monkeypatch):
        root, _ = save_pictures("a.png", "b.png")
        Image.new("1", (400, 400)).save(root / "bomb.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
        reason = "more than 2,000 pixels, which Pillow does not open; save it smaller"
        assert folder(root).broken == (("bomb.png", reason),)
        Image.new("L", (12, 10)).save(root / "bomb.png")
        assert (len(folder(root, resolution=8)), folder(root, resolution=8).broken) == (3, ())

    def test_a_broken_first_picture_does_not_set_the_size(self, save_pictures):
        root, _ = save_pictures("b.png", "c.png")
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 50), np.uint8)).save(
            root / "a.png"
        )
        break_picture(root / "a.png")
        assert folder(root).spec.shape == (12, 10, 3)


class TestBrokenAtAccess:
    """A set too large for the memory has only its headers read at opening."""

    @pytest.fixture
    def root(self, save_pictures, monkeypatch):
        monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
        root, self.pixels = save_pictures("x/a.png", "x/b.png", "y/c.png", "y/d.png")
        break_picture(root / "x/b.png")
        break_picture(root / "y/d.png")
        return root

    def test_the_next_good_one_stands_in(self, root, caplog):
        source = folder(root)
        assert len(source) == 4
        batch = contents(source)
        stand_ins = [self.pixels[name] for name in ("x/a.png", "y/c.png", "y/c.png", "x/a.png")]
        np.testing.assert_array_equal(batch["image"], stand_ins)
        assert batch["label"].tolist() == [0, 1, 1, 0]
        contents(source)
        # Each once, however often it is met.
        assert [re.search(r"picture (\S+) is broken", text)[1] for text in caplog.messages] == [
            "x/b.png",
            "y/d.png",
        ]
        assert "the next good one replaces it" in caplog.text

    def test_strict_stops_the_run_by_name(self, root):
        batches = Pipeline(folder(root, strict=True), seed=0).iterate(0, 4)
        with pytest.raises(ValueError, match=r"picture [xy]/[bd]\.png is broken"):
            next(batches)
        batches.close()

    def test_when_none_is_left(self, root, save_pictures):
        source = folder(root)
        for path in root.rglob("*.png"):
            path.unlink()
        text = (
            "none of its pictures can be decoded any more; if they were removed, copy the set again"
        )
        with pytest.raises(ValueError, match=text):
            source[0]
        save_pictures(*self.pixels)
        np.testing.assert_array_equal(source[0]["image"], self.pixels["x/a.png"])


class TestRefused:
    def assert_refused(self, text, path, **options):
        with pytest.raises(ValueError, match=re.escape(text)) as raised:
            folder(path, **options)
        assert "\n" not in str(raised.value)
        return raised.value

    def test_missing(self, save_pictures, tmp_path):
        text = (
            f"path is '{tmp_path}/nowhere', but there is no such folder or zip file: set path=PATH."
        )
        (fix,) = self.assert_refused(text, tmp_path / "nowhere").fixes
        root, _ = save_pictures("a.png")
        assert len(folder(**dict.fromkeys(fix, root))) == 1

    @pytest.mark.parametrize(("files", "among"), [((), "0 files"), (("a.txt", "b.xcf"), "2 files")])
    def test_without_pictures(self, save_pictures, tmp_path, files, among):
        for name in files:
            (tmp_path / name).touch()
        text = (
            f"folder {tmp_path}: holds no pictures (jpg, png, webp, bmp, gif, tif, ...) among its {among}; add some, or"
            " give another folder or zip"
        )
        self.assert_refused(text, tmp_path)
        root, _ = save_pictures("a.png")
        assert len(folder(root)) == len(folder(tmp_path)) == 1

    def test_empty_zip(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "a.zip", "w"):
            pass
        text = f"zip {tmp_path}/a.zip: holds no pictures (jpg, png, webp, bmp, gif, tif, ...) among its 0 files; add"
        self.assert_refused(text, tmp_path / "a.zip")
        Image.new("L", (4, 4)).save(tmp_path / "a.png")
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(tmp_path / "a.png", "a.png")
        assert len(folder(tmp_path / "a.zip")) == 1

    def test_a_file(self, save_pictures, tmp_path):
        root, _ = save_pictures("a.png")
        text = (
            f"path is '{root}/a.png', but the file is not a complete zip of pictures (File is not a zip file): set"
            " path=PATH."
        )
        (fix,) = self.assert_refused(text, root / "a.png").fixes
        assert len(folder(**dict.fromkeys(fix, root))) == 1

    def test_an_array(self, tmp_path):
        np.savez(tmp_path / "a.npz", images=np.zeros((3, 5, 5), np.uint8))
        text = "an array file is neither a folder nor a zip of pictures: set data.name=array."
        (fix,) = self.assert_refused(text, tmp_path / "a.npz").fixes
        assert len(open_source(fix["data.name"], path=str(tmp_path / "a.npz"))) == 3

    def test_no_such_split(self, save_pictures):
        root, _ = save_pictures("train/a.png", "val/b.png")
        text = (
            f"split is 'test', but folder {root} has no such folder, only train, val: set split=train or split=val or"
            " split=all."
        )
        fixes = self.assert_refused(text, root, split="test").fixes
        assert [len(folder(root, **fix)) for fix in fixes] == [1, 1, 2]
        text = (
            f"split is 'test', but folder {root}/train has no folder of that name at its top, "
            "so it is not divided into splits: set split=train."
        )
        (fix,) = self.assert_refused(text, root / "train", split="test").fixes
        assert len(folder(root / "train", **fix)) == 1
