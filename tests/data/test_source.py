"""The identity of data: the same wherever they are stored, another for other examples."""

import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import ArraySource, encoded, open_source
from jaxgan.data import source as sources
from jaxgan.data.encoded import FittedSource, below_common
from jaxgan.data.folder import Options, files
from jaxgan.data.renumbered import Renumbered
from jaxgan.data.source import Column
from jaxgan.spec import Field

NAMES = ("cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png")


def folder(path, **options):
    return open_source("folder", path=str(path), **options)


@pytest.fixture
def root(save_pictures):
    return save_pictures(*NAMES)[0]


class TestFolders:
    def test_a_copy_is_the_same(self, root, tmp_path, both_ways):
        there = shutil.copytree(root, tmp_path / "elsewhere/copy")
        os.utime(there / NAMES[0], (1, 1))
        assert folder(there).identity == folder(root).identity

    def test_a_zip_of_it_is_the_same(self, root, tmp_path, both_ways):
        archive = shutil.make_archive(str(tmp_path / "pics"), "zip", tmp_path, "pics")
        assert folder(archive).identity == folder(root).identity

    def test_it_does_not_depend_on_the_memory(self, root, monkeypatch):
        identity = folder(root).identity
        monkeypatch.setattr(encoded, "CACHE_BYTES", 0)
        assert folder(root).identity == identity

    def test_a_split_is_the_same_by_its_own_path(self, save_pictures):
        root = save_pictures("train/a/1.png", "train/b/1.png", "val/a/1.png", "val/b/1.png")[0]
        assert folder(root, split="train").identity == folder(root / "train").identity
        assert folder(root, split="val").identity != folder(root / "train").identity

    def test_other_pictures_are_others(self, root, both_ways):
        before = folder(root).identity
        pixels = np.asarray(Image.open(root / NAMES[1])).copy()
        pixels[0, 0, 0] ^= 1
        Image.fromarray(pixels).save(root / NAMES[1])
        assert folder(root).identity != before

    def test_one_more_or_another_name_is_another_set(self, root, both_ways):
        before = folder(root).identity
        shutil.copy(root / NAMES[0], root / "cat/3.png")
        more = folder(root).identity
        (root / NAMES[0]).unlink()
        renamed = folder(root).identity
        assert len({before, more, renamed}) == 3

    def test_a_broken_picture_makes_another_set(self, root):
        before = folder(root).identity
        (root / NAMES[0]).write_bytes(b"no picture")
        assert folder(root).identity != before

    def test_labels_and_size_count(self, root):
        found = {
            folder(root, **o).identity
            for o in ({}, {"labels": False}, {"resolution": 8}, {"channels": 1})
        }
        assert len(found) == 4

    def test_of_many_files_a_fixed_sample_is_read(self, root, monkeypatch):
        monkeypatch.setattr(encoded, "SAMPLED", 2)
        opened = files(Options(path=str(root)))
        names, *parts = opened.contents(range(4))
        assert names.split("\n") == [f"{name} {(root / name).stat().st_size}" for name in NAMES]
        sample = [(root / NAMES[i]).read_bytes() for i in (0, 2)]
        assert [part.tobytes() for part in parts] == sample
        monkeypatch.setattr(encoded, "SAMPLED_BYTES", 5)
        assert [part.tobytes() for part in list(opened.contents(range(4)))[1:]] == [
            b[:5] for b in sample
        ]

    def test_fitted_pictures(self, root, tmp_path):
        there = shutil.copytree(root, tmp_path / "copy")
        one, other = (
            FittedSource(files(Options(path=str(path))), lambda x: x, (12, 10, 3)).identity
            for path in (root, there)
        )
        assert one == other

    def test_the_cache_of_fitted_pictures_knows_their_labels(self, root):
        found = {
            FittedSource(
                files(Options(path=str(root), labels=labels)), lambda x: x, (12, 10, 3)
            ).fingerprint()
            for labels in (True, False)
        }
        assert len(found) == 2

    def test_a_folder_above_all_is_no_part_of_names(self):
        assert below_common(["a/b.png"]) == ["b.png"]
        assert below_common(["a/b.png", "a2/b.png"]) == ["a/b.png", "a2/b.png"]
        assert below_common(["a.png", "b/c.png"]) == ["a.png", "b/c.png"]


class TestOthers:
    def test_packed_files(self, tmp_path, png, both_ways):
        def write(name, values):
            data = [png(np.full((4, 4), value, np.uint8)) for value in values]
            offsets = np.cumsum([0, *map(len, data)])
            np.savez(tmp_path / name, data=np.frombuffer(b"".join(data), np.uint8), offsets=offsets)
            return open_source("array", path=str(tmp_path / name)).identity

        assert write("a.npz", [1, 2, 3]) == write("b.npz", [1, 2, 3]) != write("c.npz", [1, 2, 4])

    def test_arrays(self, tmp_path):
        images, found = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), np.uint8), []
        for i, changed in enumerate((images, images, images[::-1], images[:5])):
            np.savez(tmp_path / f"{i}.npz", images=changed)
            found.append(open_source("array", path=str(tmp_path / f"{i}.npz")).identity)
        assert found[0] == found[1]
        assert len(set(found)) == 3

    def test_large_arrays_by_a_sample_of_rows(self, monkeypatch):
        monkeypatch.setattr(sources, "WHOLE_BYTES", 10)
        monkeypatch.setattr(sources, "SAMPLED_ROWS", 2)
        rows = np.arange(16, dtype=np.uint8).reshape(4, 2, 2, 1)
        unread = rows.copy()
        unread[1] += 1
        read = rows.copy()
        read[2] += 1
        one, same, other = (ArraySource(x).identity for x in (rows, unread, read))
        assert one == same != other

    @pytest.mark.parametrize("layout", ["sides", "folders"])
    def test_pairs(self, layout, save_pictures, tmp_path, both_ways):
        names = ("1.png", "2.png") if layout == "sides" else ("A/1.png", "B/1.png")
        root = save_pictures(*names)[0]
        there = shutil.copytree(root, tmp_path / "copy")

        def identity(path, **options):
            return open_source("pairs", path=str(path), **options).identity

        assert identity(root) == identity(there) != identity(root, direction="BtoA")
        Image.fromarray(np.zeros((12, 10, 3), np.uint8)).save(there / names[0])
        assert identity(root) != identity(there)

    def test_label_maps(self, save_pictures, tmp_path, both_ways):
        root = save_pictures("images/1.png")[0]
        (root / "labels").mkdir()
        Image.fromarray(np.zeros((12, 10), np.uint8)).save(root / "labels/1.png")
        there = shutil.copytree(root, tmp_path / "copy")

        def identity(path, **options):
            return open_source("label_maps", path=str(path), **{"num_labels": 2} | options).identity

        assert identity(root) == identity(there) != identity(root, num_labels=3)
        Image.fromarray(np.ones((12, 10), np.uint8)).save(there / "labels/1.png")
        assert identity(root) != identity(there)

    def test_attributes(self, root, tmp_path):
        found = []
        for name, value in (("a", 0), ("b", 0), ("c", 1)):
            rows = [f"{picture},{value}" for picture in NAMES]
            (tmp_path / f"{name}.csv").write_text("\n".join(["name,old", *rows]))
            there = shutil.copytree(root, tmp_path / name)
            table = str(tmp_path / f"{name}.csv")
            found.append(open_source("attributes", path=str(there), table=table).identity)
        assert found[0] == found[1] != found[2]

    def test_a_picture(self, tmp_path):
        for name, value in (("a", 0), ("b", 0), ("c", 1)):
            Image.new("RGB", (30, 20), (value,) * 3).save(tmp_path / f"{name}.png")
        a, b, c = (open_source("picture", path=str(tmp_path / f"{x}.png")).identity for x in "abc")
        assert a == b != c

    @pytest.mark.parametrize("name", ["digits", "mixture2d"])
    def test_sets_without_files(self, name):
        one, same, other = (open_source(name, split=s).identity for s in ("train", "train", "test"))
        assert one == same != other


class TestByHand:
    """Wrong labels were wrapped around to int32, cut to whole numbers, or read past their end."""

    images = np.zeros((4, 1, 1, 1), np.uint8)

    @pytest.mark.parametrize(
        ("labels", "text", "mend"),
        [
            ([0, 1, 2**40, 0], "numbers up to 1099511627776: give numpy.unique(labels, return_inverse=True)[1]", None),
            ([0, 1, 2**31 - 1, 0], "numbers up to 2147483647: give numpy.unique(labels, return_inverse=True)[1]", None),
            ([0.5, 1.0, 0.0, 0.0], "float64 of shape [4]: give whole numbers", lambda x: np.rint(x).astype(int)),
            ([0.0, 1.0, 0.0, 0.0], "float64 of shape [4]: give labels.astype(int)", None),
            ([-1, 0, 1, 0], "numbers from -1: number the classes from 0", lambda x: x + 1),
            ([0, 1, 0], "int64 of shape [3]: give one for each", lambda x: [*x, 0]),
            ([[0], [1], [0], [1]], "int64 of shape [4, 1]: give labels[:, 0]", None),
        ],
    )  # fmt: skip
    def test_labels(self, labels, text, mend):
        labels = np.array(labels)
        text = f"labels must be 4 whole numbers from 0, one for each example, not {text}"
        with pytest.raises(ValueError, match=re.escape(text)):
            ArraySource(self.images, labels)
        advised = text.rpartition(": give ")[2]
        mended = mend(labels) if mend else eval(advised, {"labels": labels, "numpy": np})
        found = ArraySource(self.images, mended).gather(np.arange(4))["label"]
        np.testing.assert_array_equal(found, mended)

    @pytest.mark.parametrize("stated", [{"num_classes": 2}, {"classes": ("cat", "dog")}])
    def test_more_labels_than_classes(self, stated):
        labels = np.array([0, 1, 2, 0])
        text = "labels go up to 2, but there are 2 classes; number them from 0 to 1, or state all classes"
        with pytest.raises(ValueError, match=text):
            ArraySource(self.images, labels, **stated)
        assert ArraySource(self.images, labels % 2, **stated).spec.num_classes == 2
        more = {name: 3 if value == 2 else (*value, "fox") for name, value in stated.items()}
        assert ArraySource(self.images, labels, **more).spec.num_classes == 3

    @pytest.mark.parametrize("values", [np.array([2**40] * 4), np.zeros(3, np.int32), np.zeros(4)])
    def test_columns(self, values):
        field = Field("label", number=2)
        text = "the column 'old' is .*; give it as int32 of shape \\[4\\]"
        with pytest.raises(ValueError, match=text):
            ArraySource(self.images, columns={"old": Column(field, values)})
        source = ArraySource(self.images, columns={"old": Column(field, np.zeros(4, np.int32))})
        assert source[3]["old"] == 0


class TestRenumbered:
    def test_labels_by_name(self):
        images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
        source = ArraySource(images, np.array([0, 1, 0]), classes=("cat", "fox"))
        found = Renumbered(source, Field("label", number=3, names=("ant", "cat", "fox")))
        batch = found.gather(np.arange(3))
        assert batch["label"].tolist() == [1, 2, 1]
        assert batch["label"].dtype == np.int32
        assert batch["image"].tolist() == images.tolist()
        assert (found.classes, found.summary, len(found)) == (
            ("ant", "cat", "fox"),
            source.summary,
            3,
        )
        assert found.fingerprint() != source.fingerprint()

    def test_other_columns_stay(self):
        column = Column(Field("attributes", number=1), np.ones((2, 1), np.int32))
        images, labels = np.zeros((2, 1, 1, 1), np.uint8), np.array([1, 0])
        source = ArraySource(images, labels, classes=("a", "b"), columns={"old": column})
        found = Renumbered(source, Field("label", number=2, names=("b", "a")))
        assert found[0].keys() == {"image", "label", "old"}
        assert found[0]["label"] == 0
