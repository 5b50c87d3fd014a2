"""One picture: the whole set of a model that learns from a single one.

Without a path it is one of the photographs that scikit-learn carries, china.jpg by danielbuechele and flower.jpg by
vultilion on Flickr, both under CC BY 2.0.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.data import pictures
from jaxgan.data.options import DataOptions, Progress, check_split
from jaxgan.data.source import ArraySource

CARRIED = ("china.jpg", "flower.jpg")  # by scikit-learn


def source(options: DataOptions, progress: Progress) -> ArraySource:
    """The picture as uint8 [1, H, W, C], in its own aspect unless `options.resolution` asks for a square.

    Its longer side is reduced to `options.max_side`, bicubic and antialiased; it is never enlarged.
    """
    check_split(options, ("train", "all"))
    if options.max_side < 0:
        raise ValueError(
            f"--config.data.max_side={options.max_side}: give the longer side in pixels, or 0 to keep the picture's"
        )
    pixels = pictures.to_channels(_read(options.path or CARRIED[0]), options.channels)
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if options.resolution:
        image = pictures.fit(image, options.resolution)
    elif 0 < options.max_side < max(image.size):
        shrink = options.max_side / max(image.size)
        size = tuple(max(1, round(side * shrink)) for side in image.size)
        image = image.resize(size, Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return ArraySource(
        pixels.reshape(1, *pixels.shape[:2], -1),
        name=f"picture {options.path or CARRIED[0]}",
        unit="picture",
    )


def _read(path: str) -> np.ndarray:
    file = Path(path).expanduser()
    if path in CARRIED and not file.exists():
        from sklearn.datasets import load_sample_image  # Half a second to import.

        return load_sample_image(path)
    if not file.is_file():
        what = "is a folder, not a picture" if file.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{path} {what} (--config.data.path); give a picture's file, or one of {', '.join(CARRIED)}, which"
            " scikit-learn carries"
        )
    try:
        with file.open("rb") as opened:
            return pictures.decode(opened)
    except Exception as error:
        raise ValueError(
            f"{path} cannot be read as a picture (--config.data.path): {error}"
        ) from error
