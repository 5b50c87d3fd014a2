"""A single picture, for models that are trained on one picture.

Two photographs are included with scikit-learn: china.jpg by danielbuechele, the default, and flower.jpg by vultilion.
Both are from Flickr, under CC BY 2.0.
"""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.data import pictures
from jaxgan.data.encoded import reason_of
from jaxgan.data.options import PictureOptions, Progress
from jaxgan.data.source import ArraySource
from jaxgan.options import OptionError, option

CARRIED = ("china.jpg", "flower.jpg")  # by scikit-learn


@dataclasses.dataclass(frozen=True)
class Options(PictureOptions):
    path: str = option(
        "", f"file of the picture, or one of {', '.join(CARRIED)}; empty for {CARRIED[0]}"
    )
    split: str = option(
        "train",
        "one picture has no splits: both values take all of it",
        choices=("train", "all"),
    )
    max_side: int = option(
        250, "pixels that the longer side is reduced to; 0 keeps the picture's size", least=0
    )


def source(options: Options, progress: Progress) -> ArraySource:
    """The picture as uint8 [1, H, W, C], in its own aspect ratio, or as a square of `options.resolution`.

    Its longer side is reduced to `options.max_side`, bicubic and antialiased; it is never enlarged.
    """
    file = Path(options.path or CARRIED[0]).expanduser()
    pixels = pictures.to_channels(_read(options.path or CARRIED[0]), options.channels)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if options.resolution:
        image = pictures.fit(image, options.resolution)
    elif 0 < options.max_side < max(image.size):
        shrink = options.max_side / max(image.size)
        width, height = (max(1, round(side * shrink)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return ArraySource(
        pixels.reshape(1, *pixels.shape[:2], -1),
        name=f"picture {options.path or CARRIED[0]}",
        unit="picture",
        contents=(lambda: [np.fromfile(file, np.uint8)]) if file.is_file() else None,
    )


def _read(path: str) -> np.ndarray:
    file, ways = Path(path).expanduser(), [{"path": name} for name in ("FILE", *CARRIED)]
    if path in CARRIED and not file.exists():
        from sklearn.datasets import load_sample_image  # Half a second to import.

        return load_sample_image(path)
    if not file.is_file():
        what = "that is a folder, not a picture" if file.is_dir() else "there is no such file"
        raise OptionError("path", path, what, *ways)
    try:
        with file.open("rb") as opened:
            return pictures.decode(opened)
    except Exception as error:
        reason = f"it cannot be read as a picture ({reason_of(error)})"
        raise OptionError("path", path, reason, *ways) from error
