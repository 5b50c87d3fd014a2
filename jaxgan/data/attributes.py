"""Pictures with binary attributes, which a table lists: the text file of CelebA, or a CSV."""

import csv
import dataclasses
import difflib
import io
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from jaxgan.data import digits, folder
from jaxgan.data.encoded import BadData, Encoded, open_encoded
from jaxgan.data.options import FileOptions, Progress
from jaxgan.data.source import ArraySource, Column, Source, composed
from jaxgan.options import OptionError, check, option
from jaxgan.spec import Field

VALUES = {"-1": 0, "0": 0, "1": 1}
# Of the digits; what each digit has.
OF_DIGITS = {"even": {0, 2, 4, 6, 8}, "loop": {0, 6, 8, 9}, "above_four": {5, 6, 7, 8, 9}}


@dataclasses.dataclass(frozen=True)
class Options(FileOptions):
    path: str = option("", "folder or zip file of pictures; empty for digits")
    split: str = option(
        "train", "top-level folder, if these are called train, val, test; all for all of them"
    )
    table: str = option("", "list_attr_celeba.txt, or a CSV; a row for each picture")
    attributes: tuple[str, ...] = option(
        (), "names of the attributes to use, in this order; empty for all of the table", empty=True
    )


class Table(NamedTuple):
    """Attributes by picture: `rows` maps a file name to its number in `values`, int32 [N, K], 0 or 1."""

    names: tuple[str, ...]
    rows: dict[str, int]
    values: np.ndarray


def source(options: Options, progress: Progress) -> Source:
    """The pictures of `options.path` ("image") with the attributes of `options.table` ("attributes", 0 or 1 each).

    - CelebA's list_attr_celeba.txt: a line with the number of pictures, a line with the names of the attributes, and a
      line for each picture, with its file name and 1 or -1 for each attribute.
    - A CSV (.csv): a header, whose first column is the file name and whose others are the attributes, and a line for
      each picture, with 1, 0 or -1.
    - No path: handwritten digits, with the attributes even, loop and above_four.

    A picture finds its row by its path below `options.path`, or by its file name, whatever the suffix. A picture
    without a row is an error; rows without pictures are ignored, so a part of the set can be used. -1 becomes 0.
    Pictures are chosen and read as in the data source "folder", whose classes are not used.
    """
    if not options.path:
        return _digits(options, progress)
    if not options.table:
        raise OptionError(
            "table",
            "",
            "it must name the file of attributes, list_attr_celeba.txt or a CSV",
            {"table": "PATH"},
        )
    table = read_table(options.table)
    files = folder.files(folder.Options(path=options.path, split=options.split, labels=False))
    chosen = chosen_names(options.attributes, table.names)
    values = table.values[:, [table.names.index(name) for name in chosen]]
    column = Column(_field(chosen), values[_rows(files, table, options.table)])
    return open_encoded(
        dataclasses.replace(files, columns={"attributes": column}), options, progress
    )


def read_table(path: str) -> Table:
    """The table of a file.

    Raises:
      OptionError: there is no such file, or it is no table of attributes; the message names the line.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        what = "that is a folder" if file.is_dir() else "there is no such file"
        raise OptionError("table", path, what, {"table": "PATH"})
    try:
        text = file.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OptionError("table", path, "the file is not text", {"table": "PATH"}) from error
    lines = (_of_csv if file.suffix.lower() == ".csv" else _of_celeba)(path, text)
    return _table(path, *lines)


Lines = list[tuple[int, list[str]]]  # (number of the line from 1, its cells)


def _of_csv(path: str, text: str) -> tuple[list[str], Lines]:
    """(names, lines) of a CSV."""
    reader = csv.reader(io.StringIO(text))
    lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
    if not lines or len(lines[0][1]) < 2:
        raise BadData(
            f"{path}: the first line of a CSV of attributes has the file name and then the names of the attributes,"
            " separated by commas; add it"
        )
    return lines[0][1][1:], lines[1:]


def _of_celeba(path: str, text: str) -> tuple[list[str], Lines]:
    """(names, lines) of list_attr_celeba.txt."""
    lines = [(i, line.split()) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if len(lines) < 2 or len(lines[0][1]) != 1 or not lines[0][1][0].isdigit():
        raise BadData(
            f"{path}: is not in CelebA's format, a line with the number of pictures, a line with the names of the"
            " attributes and a line for each picture; a table with commas must have a name that ends in .csv"
        )
    count, rows = int(lines[0][1][0]), lines[2:]
    if count != len(rows):
        raise BadData(
            f"{path}: its first line announces {count:,} pictures, but it has {len(rows):,}; copy the whole file again,"
            " or correct that number"
        )
    return lines[1][1], rows


def _table(path: str, names: list[str], lines: Lines) -> Table:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise BadData(f"{path}: has two attributes called {twice[0]}; rename one")
    rows: dict[str, int] = {}
    values = np.zeros((len(lines), len(names)), np.int32)
    for row, (number, (name, *cells)) in enumerate(lines):
        if len(cells) != len(names):
            raise BadData(
                f"{path}: line {number} ({name}) has {len(cells)} of the {len(names)} values, one for each attribute;"
                " correct the line"
            )
        if _key(name) in rows:
            raise BadData(f"{path}: line {number} is a second row of {name}; remove one")
        rows[_key(name)] = row
        for column, cell in enumerate(cells):
            if cell not in VALUES:
                raise BadData(
                    f"{path}: line {number} ({name}) has {cell!r} for {names[column]}; write 1, or else 0 or -1"
                )
            values[row, column] = VALUES[cell]
    return Table(tuple(names), rows, values)


def chosen_names(wanted: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the attributes to use; raises an OptionError for one that is not known, or is given twice."""
    for name in wanted:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            fixed = tuple(close[0] if n == name else n for n in wanted) if close else ()
            raise OptionError(
                "attributes",
                wanted,
                f"there is no attribute {name!r} among {', '.join(known)}",
                {"attributes": fixed},
            )
    if len(set(wanted)) < len(wanted):
        raise OptionError(
            "attributes",
            wanted,
            "an attribute is named twice",
            {"attributes": tuple(dict.fromkeys(wanted))},
        )
    return wanted or known


def _rows(files: Encoded, table: Table, path: str) -> np.ndarray:
    """The row of each picture in the table, int64 [N]."""
    found = [
        table.rows.get(_key(name), table.rows.get(_key(PurePosixPath(name).name)))
        for name in files.names
    ]
    missing = [name for name, row in zip(files.names, found, strict=True) if row is None]
    if missing:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise BadData(
            f"{files.where}: {', '.join(missing[:3])}{more} {'has' if len(missing) == 1 else 'have'} no row in {path};"
            " add what is missing there, or remove these pictures"
        )
    first: dict[int, str] = {}
    for name, row in zip(files.names, found, strict=True):
        assert row is not None, "such pictures were refused above"
        if first.setdefault(row, name) != name:
            raise BadData(
                f"{files.where}: {first[row]} and {name} find the same row in {path}; name each there by its path below"
                " the folder, or remove one"
            )
    return np.array(found, np.int64)


def _key(name: str) -> str:
    """A file name without its suffix: tables name 000001.jpg where a set may hold 000001.png."""
    name = composed(name)
    path = PurePosixPath(name)
    return str(path.with_suffix("")) if path.suffix.lower() in folder.SUFFIXES else name


def _field(names: tuple[str, ...]) -> Field:
    return Field("attributes", number=len(names), names=names)


def _digits(options: Options, progress: Progress) -> Source:
    plain = digits.Options(
        split=options.split, resolution=options.resolution, channels=options.channels
    )
    check(plain)
    drawn = digits.source(plain, progress)
    every = drawn.gather(np.arange(len(drawn)))
    chosen = chosen_names(options.attributes, tuple(OF_DIGITS))
    values = np.stack(
        [np.isin(every["label"], sorted(OF_DIGITS[name])) for name in chosen], axis=1
    ).astype(np.int32)
    return ArraySource(
        every["image"],
        columns={"attributes": Column(_field(chosen), values)},
        name=f"digits with attributes ({options.split})",
    )
