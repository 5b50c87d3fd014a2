"""Converts pictures of any kind to uint8 [H, W, 1 or 3]."""

from typing import IO, BinaryIO

import numpy as np
from PIL import Image, ImageOps

# Pillow's modes of grey pictures: 1 bit, 8 bits, with alpha, 16 bits in any byte order, 32 bits.
GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16L", "I;16B", "I;16N", "I"})

EXIF_ORIENTATION = 0x0112

# Formats that Pillow gives to another program, which runs what the file says: PostScript, to Ghostscript.
PROGRAMS = frozenset({"EPS"})


def opened(file: IO[bytes]) -> Image.Image:
    """`Image.open` for pictures that nobody has checked: only the header is read.

    Raises:
      ValueError: it states more pixels than Pillow decodes, twice `Image.MAX_IMAGE_PIXELS`: a small file can state any
        size. Or it is of one of the `PROGRAMS`.
    """
    try:
        image = Image.open(file)
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # a warning at half of it
        raise ValueError(
            f"more than {limit:,} pixels, which Pillow does not open; save it smaller"
        ) from error
    if image.format in PROGRAMS:
        image.close()
        raise ValueError(
            f"a program in PostScript ({image.format}), which is not run; save it as a PNG"
        )
    return image


def decode(file: BinaryIO, resolution: int = 0) -> np.ndarray:
    """Decodes one picture: uint8 [H, W, 1] if it is grey, else uint8 [H, W, 3].

    Of an animation, this is the first frame. The picture is rotated by its EXIF orientation,
    converted by `flatten`, and resized by `fit` if `resolution` is not 0. Errors of Pillow on a
    broken file are not caught.
    """
    with opened(file) as image:
        image.load()  # A truncated file raises only here.
        flat = flatten(ImageOps.exif_transpose(image))
    pixels = np.asarray(fit(flat, resolution) if resolution else flat)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def header(file: BinaryIO) -> tuple[tuple[int, int], bool]:
    """(height, width) as `decode` would give without a resolution, and whether it would be grey."""
    with opened(file) as image:
        width, height = image.size
        # Not `image.getexif`: for a PNG it decodes the picture, since EXIF data may follow it.
        turned = Image.Image.getexif(image).get(EXIF_ORIENTATION, 1) >= 5  # by 90 degrees
        if turned and image.format != "TIFF":  # Pillow states a TIFF's size as it is after turning.
            width, height = height, width
        return (height, width), image.mode in GREY_MODES


def flatten(image: Image.Image) -> Image.Image:
    """Any Pillow image as 8-bit grey ("L") or "RGB".

    Transparent pixels are composited on white; 16 bits of grey are scaled to 8 (v * 255 / 65535, rounded), where
    Pillow's own conversion clips, while of 16 bits of colour Pillow reads the upper 8; palettes, CMYK, YCbCr and Lab
    become RGB by Pillow's plain formulas, without colour profiles.
    """
    if image.mode.startswith("I"):
        pixels = np.asarray(image)
        levels = _from_16_bits(pixels)
        if (clear := image.info.get("transparency")) is not None:  # a level, of a PNG
            levels[pixels == clear] = 255
        return Image.fromarray(levels)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, whose white is not defined")
    grey = image.mode in GREY_MODES
    if image.has_transparency_data:
        return _on_white(image.convert("LA" if grey else "RGBA"))
    return image.convert("L" if grey else "RGB")


def fit(image: Image.Image, resolution: int) -> Image.Image:
    """The central square of `image`, at `resolution` x `resolution`.

    Lanczos, antialiased, to make it smaller; bicubic, which rings less, to make it larger.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    # Cropped first: with `resize(box=...)` the filter would use pixels outside the square.
    square = image.crop((left, top, left + side, top + side))
    if side == resolution:
        return square
    smaller = resolution < side
    kind = Image.Resampling.LANCZOS if smaller else Image.Resampling.BICUBIC
    return square.resize((resolution, resolution), kind)


def fit_array(images: np.ndarray, resolution: int) -> np.ndarray:
    """`fit` of each of `images`, uint8 [N, H, W, 1 or 3]."""
    if not resolution or images.shape[1:3] == (resolution, resolution):
        return images
    fitted = np.empty((len(images), resolution, resolution, images.shape[3]), np.uint8)
    for target, pixels in zip(fitted, images, strict=True):
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        target[:] = np.asarray(fit(image, resolution)).reshape(target.shape)
    return fitted


def fit_maps(maps: np.ndarray, resolution: int) -> np.ndarray:
    """`fit` of label maps [N, H, W] by the nearest pixel, which keeps their indices; 0 for their own size."""
    if not resolution:
        return maps
    height, width = maps.shape[1:]
    side = min(height, width)
    pick = (2 * np.arange(resolution) + 1) * side // (2 * resolution)
    return maps[:, (height - side) // 2 + pick][:, :, (width - side) // 2 + pick]


def colours() -> np.ndarray:
    """The colour of each class, uint8 [256, 3], as in the label maps of PASCAL VOC.

    Bits 0, 3, 6 of a class are the high bits of its red, bits 1, 4, 7 of its green and bits 2, 5 of its blue, so that
    classes with small numbers have very different colours.

    >>> colours()[[0, 1, 2, 15]].tolist()
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128]]
    """
    classes, channel, bit = np.ogrid[:256, :3, :8]
    return ((classes >> (3 * bit + channel) & 1) << (7 - bit)).sum(axis=-1).astype(np.uint8)


def jittered(
    picture: np.ndarray,
    enlarged: tuple[int, int],
    corner: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> np.ndarray:
    """Enlarges a picture or a label map and crops it back to its own size.

    A picture is interpolated bilinearly; a label map takes the index of the nearest pixel, so that it holds no index
    that it did not hold before.

    Args:
      picture: a picture, uint8 [H, W, 1 or 3], or a label map, integers [H, W].
      enlarged: height and width of the enlarged picture.
      corner: row and column in it of the crop's upper left pixel.
      size: height and width of the crop in it; H and W if None. A field of another size than the picture that
        `enlarged`, `corner` and `size` belong to is cropped to the same part.
    """
    height, width = picture.shape[:2]
    high, wide = size or (height, width)
    rows, columns = (
        height / enlarged[0],
        width / enlarged[1],
    )  # of the picture, per row and column of the enlarged one
    box = (
        corner[1] * columns,
        corner[0] * rows,
        (corner[1] + wide) * columns,
        (corner[0] + high) * rows,
    )
    if picture.ndim == 2:
        # The centres at which Pillow interpolates a picture.
        row = box[1] + (np.arange(height) + 0.5) * ((box[3] - box[1]) / height)
        column = box[0] + (np.arange(width) + 0.5) * ((box[2] - box[0]) / width)
        return picture[row.astype(np.int64)][:, column.astype(np.int64)]
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    resized = image.resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized).reshape(picture.shape)


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 [..., 1 to 4] as [..., channels]; 0 for 1 channel if it is grey, else 3.

    2 and 4 channels include alpha, and are composited on white.

    >>> to_channels(np.array([[255, 0, 0]], np.uint8), 1)
    array([[76]], dtype=uint8)
    """
    if images.shape[-1] in (2, 4):
        colour, alpha = images[..., :-1].astype(np.uint16), images[..., -1:].astype(np.uint16)
        images = ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    if channels == 3 and images.shape[-1] == 1:
        return np.repeat(images, 3, axis=-1)
    if channels == 1 and images.shape[-1] == 3:
        # ITU-R 601 luma in 16-bit fixed point: the same bytes as Pillow's conversion to "L".
        red, green, blue = np.moveaxis(images.astype(np.uint32), -1, 0)
        luma = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
        return luma.astype(np.uint8)[..., None]
    return images


def _from_16_bits(pixels: np.ndarray) -> np.ndarray:
    """[H, W] of 0 to 65535 as uint8."""
    pixels = pixels.astype(np.int64)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError(f"its pixels run from {pixels.min()} to {pixels.max()}, beyond 16 bits")
    return ((pixels + 128) // 257).astype(np.uint8)


def _on_white(image: Image.Image) -> Image.Image:
    """ "LA" on white as "L", "RGBA" on white as "RGB"."""
    white = Image.new(image.mode, image.size, "white")
    return Image.alpha_composite(white.convert("RGBA"), image.convert("RGBA")).convert(
        image.mode[:-1]
    )
