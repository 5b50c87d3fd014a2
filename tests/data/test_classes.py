"""Classes of pictures in folders: NVIDIA's dataset.json, its shards, and one numbering for all splits."""

import json
import re
import shutil

import numpy as np
import pytest

from jaxgan.data import open_source
from jaxgan.data.encoded import BadLabels
from jaxgan.options import OptionError

SHARDS = ("00000/img00000000.png", "00000/img00000001.png", "00001/img00001000.png")
COMPOSED, DECOMPOSED = "\u00e9t\u00e9", "e\u0301te\u0301"
LABELS = [[SHARDS[2], 1], [SHARDS[0], 3], [SHARDS[1], 0]]


def folder(path, **options):
    return open_source("folder", path=str(path), **options)


def labels(source):
    return source.gather(np.arange(len(source)))["label"].tolist()


def has_none(source):
    return source.spec.num_classes is None and source[0].keys() == {"image"}


class TestDatasetJson:
    @pytest.fixture
    def root(self, save_pictures):
        """Three pictures in two shards, as NVIDIA's dataset tool writes them."""
        return save_pictures(*SHARDS)[0]

    def write(self, root, stated):
        text = stated if isinstance(stated, str) else json.dumps(stated)
        (root / "dataset.json").write_text(text)
        return root

    def test_its_labels_are_the_classes(self, root, both_ways):
        source = folder(self.write(root, {"labels": LABELS}))
        assert labels(source) == [3, 0, 1]
        assert (source.spec.num_classes, source.classes) == (4, ())

    def test_names_in_the_other_form_of_accented_letters(self, save_pictures):
        """A zip from macOS has the letter and its accent apart, a JSON file usually one character."""
        root = save_pictures(*(f"{DECOMPOSED}/{i}.png" for i in range(2)))[0]
        self.write(root, {"labels": [[f"{COMPOSED}/0.png", 1], [f"{DECOMPOSED}/1.png", 0]]})
        assert labels(folder(root)) == [1, 0]

    def test_null_means_no_classes(self, root):
        assert has_none(folder(self.write(root, {"labels": None})))

    def test_null_also_of_folders_with_names(self, save_pictures):
        root = save_pictures("cat/a.png", "dog/b.png")[0]
        assert has_none(folder(self.write(root, {"labels": None})))

    def test_it_labels_pictures_of_any_name(self, save_pictures):
        root = save_pictures("cat/a.png", "dog/b.png", "c.png")[0]
        rows = [["cat/a.png", 1], ["dog/b.png", 0], ["c.png", 1]]
        assert labels(folder(self.write(root, {"labels": rows}))) == [1, 1, 0]  # c.png is first

    def test_shards_without_it_are_no_classes(self, root):
        assert has_none(folder(root))
        assert has_none(folder(root, split="all"))

    def test_folders_of_digits_with_other_names_are_classes(self, save_pictures):
        root = save_pictures("00000/a.png", "00001/b.png")[0]
        assert folder(root).classes == ("00000", "00001")

    def test_zips_are_the_same(self, root, tmp_path):
        self.write(root, {"labels": LABELS})
        at_the_top = shutil.make_archive(str(tmp_path / "one"), "zip", root)
        in_a_folder = shutil.make_archive(str(tmp_path / "two"), "zip", tmp_path, "pics")
        for archive in (at_the_top, in_a_folder):
            assert labels(folder(archive)) == [3, 0, 1]

    def test_labels_can_be_left_out(self, root):
        assert has_none(folder(self.write(root, {"labels": LABELS}), labels=False))

    def test_each_split_has_its_own(self, tmp_path, save_pictures):
        names = (
            "train/00000/img00000000.png",
            "train/00001/img00000001.png",
            "val/00000/img00000000.png",
        )
        root = save_pictures(*names)[0]
        self.write(
            root / "train", {"labels": [["00000/img00000000.png", 0], ["00001/img00000001.png", 1]]}
        )
        self.write(root / "val", {"labels": [["00000/img00000000.png", 4]]})
        assert labels(folder(root)) == [0, 1]
        assert labels(folder(root, split="val")) == [4]
        assert labels(folder(root, split="all")) == [0, 1, 4]
        assert {folder(root, split=split).spec.num_classes for split in ("train", "val")} == {5}

    def test_a_dataset_json_of_another_program_is_ignored(self, save_pictures):
        root = save_pictures("cat/a.png", "dog/b.png")[0]
        assert folder(self.write(root, {"licence": "none"})).classes == ("cat", "dog")
        assert folder(self.write(root, [1, 2])).classes == ("cat", "dog")

    @pytest.mark.parametrize(
        ("stated", "text"),
        [
            ({"labels": LABELS[:1]}, f"{SHARDS[1]} have no label in dataset.json; add these labels, or leave them out"),
            ({"labels": []}, f"{', '.join(SHARDS)} have no label in dataset.json"),
            ({"labels": [[SHARDS[0], [0.5, 1.0]]]}, "in dataset.json is a vector of 2 numbers, but a class is a whole"),
            ({"labels": [[SHARDS[0], 0.5]]}, "in dataset.json is 0.5, but a class is a whole number from 0"),
            ({"labels": [[SHARDS[0], -1]]}, "in dataset.json is -1, but a class is a whole number from 0"),
            ({"labels": [[SHARDS[0], 2**31 - 1]]}, "but a class is a whole number from 0 to 2147483646:"),
            ({"labels": [[SHARDS[0], True]]}, "in dataset.json is true, but a class is a whole number from 0"),
            ({"labels": [[SHARDS[0], "cat"]]}, 'in dataset.json is "cat", but a class is a whole number from 0'),
            ({"labels": [*LABELS, [SHARDS[0], 2]]}, f"states two labels for {SHARDS[0]}, 3 and 2; remove one"),
            ({"labels": {SHARDS[0]: 3}}, "the labels of dataset.json are no list of names and labels"),
            ({"labels": [SHARDS[0]]}, "the labels of dataset.json are no list of names and labels"),
            ('{"labels": [', "dataset.json is not valid JSON (Expecting value"),
            ("\udcff", "dataset.json is not valid JSON"),
        ],
    )  # fmt: skip
    def test_labels_that_are_no_classes(self, root, stated, text):
        if stated == "\udcff":
            (root / "dataset.json").write_bytes(b"\xff\xfe")
        else:
            self.write(root, stated)
        with pytest.raises(OptionError, match=re.escape(text)) as raised:
            folder(root)
        assert isinstance(raised.value, BadLabels)
        assert str(raised.value).startswith(f"folder {root}: ")
        assert str(raised.value).endswith(": set labels=false.")
        (fix,) = raised.value.fixes
        assert has_none(folder(root, **fix))
        assert labels(folder(self.write(root, {"labels": LABELS}))) == [3, 0, 1]  # corrected

    def test_sources_that_use_no_classes_do_not_read_it(self, save_pictures):
        root = save_pictures("A/1.png", "B/1.png")[0]
        self.write(root, "broken")
        assert len(open_source("pairs", path=str(root))) == 1


class TestSplits:
    @pytest.fixture
    def root(self, save_pictures):
        names = (
            "train/cat/1.png",
            "train/dog/1.png",
            "train/fox/1.png",
            "val/cat/1.png",
            "val/fox/1.png",
        )
        return save_pictures(*names)[0]  # fmt: skip

    def test_a_class_has_one_number_in_all_splits(self, root):
        assert labels(folder(root)) == [0, 1, 2]
        assert labels(folder(root, split="val")) == [0, 2]
        assert labels(folder(root, split="all")) == [0, 1, 2, 0, 2]
        for split in ("train", "val", "all"):
            assert folder(root, split=split).classes == ("cat", "dog", "fox")

    def test_a_class_has_one_number_in_both_forms_of_accented_letters(self, save_pictures):
        root = save_pictures(
            f"train/{COMPOSED}/1.png", "train/z/1.png", f"val/{DECOMPOSED}/1.png", "val/z/1.png"
        )[0]
        for split in ("train", "val"):
            assert labels(folder(root, split=split)) == [0, 1]
            assert folder(root, split=split).classes == ("z", COMPOSED)

    def test_two_files_whose_names_look_the_same_are_both_kept(self, save_pictures):
        root, pixels = save_pictures(f"{DECOMPOSED}.png", f"{COMPOSED}.png")
        source = folder(root)
        assert len(source) == 2
        np.testing.assert_array_equal(
            source.images(), [pixels[f"{name}.png"] for name in (DECOMPOSED, COMPOSED)]
        )

    def test_a_class_that_a_split_lacks_is_named(self, root, caplog):
        folder(root)
        assert caplog.messages == []
        folder(root, split="val")
        assert caplog.messages == [
            f"folder {root}: val has no pictures of classes that other splits have: dog"
        ]

    def test_a_split_of_one_class(self, save_pictures):
        root = save_pictures("train/cat/1.png", "train/dog/1.png", "val/dog/1.png")[0]
        assert labels(folder(root, split="val")) == [1]

    def test_a_split_of_one_class_with_folders_inside(self, save_pictures):
        names = ("train/cat/1.png", "train/dog/1.png", "val/dog/a/1.png", "val/dog/b/1.png")
        source = folder(save_pictures(*names)[0], split="val")
        assert (labels(source), source.classes) == ([1, 1], ("cat", "dog"))

    def test_folders_around_the_classes_may_differ(self, save_pictures):
        names = (
            "train/images/cat/1.png",
            "train/images/dog/1.png",
            "val/cat/1.png",
            "val/dog/1.png",
        )
        root = save_pictures(*names)[0]  # fmt: skip
        for split in ("train", "val"):
            assert folder(root, split=split).classes == ("cat", "dog")
            assert labels(folder(root, split=split)) == [0, 1]

    def test_a_split_without_classes_takes_them_from_no_other(self, save_pictures):
        root = save_pictures("train/cat/1.png", "train/dog/1.png", "test/1.png")[0]
        assert folder(root).classes == ("cat", "dog")
        assert has_none(folder(root, split="test"))
        assert has_none(folder(root, split="all"))

    def test_the_splits_may_be_shards(self, save_pictures):
        root = save_pictures(*(f"{split}/{name}" for split in ("train", "val") for name in SHARDS))[
            0
        ]
        assert has_none(folder(root))
