"""The splits of a set of files: folders called train, val or test."""

from collections.abc import Collection

from jaxgan.data.encoded import common_folder

NAMES = frozenset({"train", "val", "valid", "validation", "test"})
ALIASES = {"training": "train", "testing": "test"}


def split_of(folder: str) -> str:
    """The split that a folder of this name holds; empty if it is no split.

    >>> split_of("val"), split_of("Training"), split_of("cats")
    ('val', 'train', '')
    """
    name = ALIASES.get(folder.lower(), folder.lower())
    return name if name in NAMES else ""


def level_of_splits(paths: Collection[tuple[str, ...]]) -> int | None:
    """The position of the split in the paths of files; None if the files are not divided into splits.

    The folders at the top are splits if all of them are called so. Archives often have everything in one folder, so
    those in the innermost folder that holds all files are looked at too.

    >>> level_of_splits([("pets", "Train", "cat", "1.png"), ("pets", "Test", "cat", "2.png")])
    1
    """
    for level in (0, len(common_folder(list(paths)))):
        if all(len(parts) > level + 1 and split_of(parts[level]) for parts in paths):
            return level
    return None
