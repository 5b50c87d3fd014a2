"""Pictures with attributes: CelebA's text file, CSVs, choices of attributes, and what is wrong with a table."""

import re
import shutil

import numpy as np
import pytest

from jaxgan.data import open_source
from jaxgan.spec import Field

NAMES = ("Bald", "5_o_Clock_Shadow", "Smiling")
FILES = [f"{i:06d}.jpg" for i in range(1, 6)]
VALUES = np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1], [1, 0, 0], [1, 1, 1]])


def celeba(path, files=FILES, values=VALUES, names=NAMES, count=None):
    """Writes a table as CelebA's: numbers in columns, 1 and -1; its path."""
    rows = [
        f"{file} " + " ".join(f"{2 * value - 1:2d}" for value in row)
        for file, row in zip(files, values, strict=True)
    ]
    path.write_text("\n".join([str(count or len(rows)), " ".join(names) + " ", *rows]) + "\n")
    return path


def comma(path, files=FILES, values=VALUES, names=NAMES):
    lines = [",".join(("image_id", *names))]
    lines += [
        ",".join((file, *map(str, row))) for file, row in zip(files, values.tolist(), strict=True)
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def attributes(root, table, **options):
    return open_source("attributes", path=str(root), table=str(table), **options)


def contents(source):
    return source.gather(np.arange(len(source)))


@pytest.fixture
def faces(save_pictures):
    """(folder, pixels) of five pictures, named as in CelebA."""
    return save_pictures(*(f"img_align_celeba/{name[:-4]}.png" for name in FILES))


@pytest.mark.usefixtures("both_ways")
class TestTables:
    @pytest.mark.parametrize("swapped", [False, True])
    def test_two_forms_of_accented_letters_are_one_name(self, save_pictures, tmp_path, swapped):
        one, other = ("e\u0301.png", "\u00e9.png")[:: -1 if swapped else 1]
        root, _ = save_pictures(one)
        table = comma(tmp_path / "a.csv", [other], VALUES[1:2])
        assert contents(attributes(root, table))["attributes"].tolist() == VALUES[1:2].tolist()

    @pytest.mark.parametrize(
        ("write", "name"), [(celeba, "list_attr_celeba.txt"), (comma, "a.csv")]
    )
    def test_pictures_with_their_rows(self, faces, tmp_path, write, name):
        root, pixels = faces
        # Rows in another order than the pictures, and one more.
        order = [3, 0, 4, 2, 1]
        files = [FILES[i] for i in order] + ["000099.jpg"]
        table = write(tmp_path / name, files, np.concatenate([VALUES[order], VALUES[:1]]))
        source = attributes(root, table)
        batch = contents(source)
        np.testing.assert_array_equal(batch["image"], list(pixels.values()))
        np.testing.assert_array_equal(batch["attributes"], VALUES)
        assert batch["attributes"].dtype == np.int32
        assert source.spec["attributes"] == Field("attributes", (3,), 3, NAMES)
        assert source.summary == (
            f"folder {root}: 5 pictures, 12x10x3, 3 attributes (Bald, 5_o_Clock_Shadow, Smiling)"
        )

    def test_a_csv_of_minus_ones(self, faces, tmp_path):
        table = comma(tmp_path / "a.csv", values=2 * VALUES - 1)
        np.testing.assert_array_equal(contents(attributes(faces[0], table))["attributes"], VALUES)

    @pytest.mark.parametrize("chosen", [("Smiling",), ("Smiling", "5_o_Clock_Shadow")])
    def test_a_choice_in_its_own_order(self, faces, tmp_path, chosen):
        table = celeba(tmp_path / "list.txt")
        source = attributes(faces[0], table, attributes=",".join(chosen))
        assert source.spec["attributes"].names == chosen
        columns = [NAMES.index(name) for name in chosen]
        np.testing.assert_array_equal(contents(source)["attributes"], VALUES[:, columns])

    def test_a_broken_picture_takes_its_row_along(self, faces, tmp_path, both_ways):
        root, _ = faces
        (root / "img_align_celeba" / f"{FILES[1][:-4]}.png").write_bytes(b"junk")
        source = attributes(root, celeba(tmp_path / "list.txt"))
        assert len(source) == 4
        np.testing.assert_array_equal(contents(source)["attributes"], VALUES[[0, 2, 3, 4]])

    def test_splits_and_a_zip(self, save_pictures, tmp_path):
        root, _ = save_pictures("train/000001.png", "test/000002.png", "test/000004.png")
        table = celeba(tmp_path / "list.txt")
        archive = shutil.make_archive(str(tmp_path / "pics"), "zip", root)
        for path in (root, archive):
            found = contents(attributes(path, table, split="test"))["attributes"]
            np.testing.assert_array_equal(found, VALUES[[1, 3]])

    def test_files_of_one_name_are_told_apart_by_their_paths(self, save_pictures, tmp_path):
        root, _ = save_pictures("x/1.png", "y/1.png")
        table = comma(tmp_path / "a.csv", ["y/1.png", "x/1.png"], VALUES[:2])
        found = contents(attributes(root, table))["attributes"]
        np.testing.assert_array_equal(found, VALUES[[1, 0]])

    def test_fingerprints_tell_tables_apart(self, faces, tmp_path):
        root = faces[0]
        one = attributes(root, celeba(tmp_path / "a.txt")).fingerprint()
        assert one == attributes(root, comma(tmp_path / "a.csv")).fingerprint()
        assert one != attributes(root, celeba(tmp_path / "b.txt", values=1 - VALUES)).fingerprint()


def test_digits_with_attributes():
    source, digits = open_source("attributes"), open_source("digits")
    assert source.spec["attributes"].names == ("even", "loop", "above_four")
    batch, plain = contents(source), contents(digits)
    np.testing.assert_array_equal(batch["image"], plain["image"])
    np.testing.assert_array_equal(batch["attributes"][:, 0], 1 - plain["label"] % 2)
    np.testing.assert_array_equal(batch["attributes"][:, 2], plain["label"] > 4)
    assert open_source("attributes", attributes="loop").spec["attributes"].shape == (1,)


class TestRefused:
    def assert_refused(self, text, root, table, **options):
        with pytest.raises(ValueError, match=re.escape(text)) as raised:
            attributes(root, table, **options)
        assert "\n" not in str(raised.value)
        return raised.value

    def test_a_table_must_be_given(self, faces, tmp_path):
        text = "table is empty, but it must name the file of attributes, list_attr_celeba.txt or a CSV: set table=PATH."
        error = self.assert_refused(text, faces[0], "")
        (fix,) = error.fixes
        fix = {name: celeba(tmp_path / "list.txt") for name in fix}
        assert len(attributes(faces[0], **fix)) == 5

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("none.txt", "there is no such file: set table=PATH."),
            ("", "that is a folder: set table=PATH."),
            ("noise.txt", "the file is not text: set table=PATH."),
        ],
    )
    def test_a_table_that_is_no_file_of_text(self, faces, tmp_path, name, text):
        (tmp_path / "noise.txt").write_bytes(b"\xff\xfe\xff")
        (fix,) = self.assert_refused(text, faces[0], tmp_path / name).fixes
        fix = {name: celeba(tmp_path / "list.txt") for name in fix}
        np.testing.assert_array_equal(contents(attributes(faces[0], **fix))["attributes"], VALUES)

    @pytest.mark.parametrize(
        ("chosen", "text", "fixed"),
        [
            (
                ("Smiling", "bald"),
                "no attribute 'bald' among Bald, 5_o_Clock_Shadow, Smiling: set attributes=('Smiling', 'Bald')",
                ("Smiling", "Bald"),
            ),
            (("zzz",), "there is no attribute 'zzz' among Bald, ", NAMES),
            (("Bald", "Bald"), "an attribute is named twice: set attributes=('Bald',)", ("Bald",)),
        ],
    )
    def test_attributes_that_there_are_not(self, faces, tmp_path, chosen, text, fixed):
        table = celeba(tmp_path / "list.txt")
        (fix,) = self.assert_refused(text, faces[0], table, attributes=chosen).fixes
        assert attributes(faces[0], table, **fix).spec["attributes"].names == fixed

    @pytest.mark.parametrize(("missing", "has"), [(1, "000001.png has"), (5, " and 2 more have")])
    def test_pictures_without_rows(self, faces, tmp_path, missing, has):
        root = faces[0]
        table = celeba(tmp_path / "list.txt", [*FILES[missing:], "7.jpg"], VALUES[missing - 1 :])
        text = f"{has} no row in {table}; add what is missing there, or remove these pictures."
        self.assert_refused(text, root, table)
        assert len(attributes(root, celeba(tmp_path / "added.txt"))) == 5
        if missing == 1:
            (root / "img_align_celeba" / "000001.png").unlink()
            assert len(attributes(root, table)) == 4

    def test_pictures_of_one_row(self, save_pictures, tmp_path):
        root, _ = save_pictures("x/000001.png", "y/000001.png")
        text = "x/000001.png and y/000001.png find the same row in"
        self.assert_refused(text, root, celeba(tmp_path / "list.txt"))
        paths = celeba(tmp_path / "paths.txt", ["x/000001.png", "y/000001.png"], VALUES[:2])
        assert len(attributes(root, paths)) == 2
        (root / "y" / "000001.png").unlink()
        assert len(attributes(root, tmp_path / "list.txt")) == 1

    def test_a_part_of_a_table(self, faces, tmp_path):
        table = celeba(tmp_path / "list.txt", count=7)
        text = f"{table}: its first line announces 7 pictures, but it has 5; copy the whole file again, or correct"
        self.assert_refused(text, faces[0], table)
        assert len(attributes(faces[0], celeba(tmp_path / "list.txt", count=5))) == 5

    @pytest.mark.parametrize(
        ("name", "lines", "text", "mended"),
        [
            (
                "a.txt",
                ["image_id,Bald", "1.jpg,1", "2.jpg,0"],
                "is not in CelebA's format, a line with the number of pictures, a line with the names of the attributes"
                " and a line for each picture; a table with commas must have a name that ends in .csv.",
                ("a.csv", ["image_id,Bald", "1.jpg,1", "2.jpg,0"]),
            ),
            (
                "a.txt",
                [],
                "is not in CelebA's format, a line with the number of pictures, a line with the names of",
                ("a.txt", ["2", "Bald", "1.jpg 1", "2.jpg -1"]),
            ),
            (
                "a.csv",
                [],
                "the first line of a CSV of attributes has the file name and then the names of the attributes,"
                " separated by commas; add it.",
                ("a.csv", ["file,Bald", "1.jpg,1", "2.jpg,0"]),
            ),
            (
                "a.csv",
                ["2", "Bald", "1.jpg,1", "2.jpg,0"],
                "the first line of a CSV of attributes has the file name and then the names of the",
                ("a.csv", ["file,Bald", "1.jpg,1", "2.jpg,0"]),
            ),
            (
                "a.csv",
                ["id,Bald,Bald", "1,1,1", "2,0,0"],
                "has two attributes called Bald; rename one.",
                ("a.csv", ["id,Bald,Old", "1,1,1", "2,0,0"]),
            ),
            (
                "a.csv",
                ["id,Bald,Young", "1.jpg,1,0", "2.jpg,0"],
                "line 3 (2.jpg) has 1 of the 2 values, one for each attribute; correct the line.",
                ("a.csv", ["id,Bald,Young", "1.jpg,1,0", "2.jpg,0,1"]),
            ),
            (
                "a.csv",
                ["id,Bald", "1.jpg,1", "1.jpg,0", "2.jpg,0"],
                "line 3 is a second row of 1.jpg; remove one.",
                ("a.csv", ["id,Bald", "1.jpg,1", "2.jpg,0"]),
            ),
            (
                "a.txt",
                ["2", "Bald", "1.jpg 1", "2.jpg 0.5"],
                "line 4 (2.jpg) has '0.5' for Bald; write 1, or else 0 or -1.",
                ("a.txt", ["2", "Bald", "1.jpg 1", "2.jpg 0"]),
            ),
        ],
    )
    def test_tables(self, save_pictures, tmp_path, name, lines, text, mended):
        root, _ = save_pictures("1.png", "2.png")

        def write(name, lines):
            (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
            return tmp_path / name

        self.assert_refused(f"{tmp_path / name}: {text}", root, write(name, lines))
        found = contents(attributes(root, write(*mended)))["attributes"]
        assert found[:, 0].tolist() == [1, 0]
