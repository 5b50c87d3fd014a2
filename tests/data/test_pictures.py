"""Pictures of every kind to uint8: each kind against its definition."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxgan.data import pictures

RANDOM = np.random.default_rng(0)
GREY = RANDOM.integers(0, 256, (6, 9), dtype=np.uint8)
RGB = RANDOM.integers(0, 256, (6, 9, 3), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (6, 9, 1), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (6, 9), dtype=np.uint16)


def encoded(image, kind="PNG", **how):
    file = io.BytesIO()
    image.save(file, kind, **how)
    file.seek(0)
    return file


def decode(image, kind="PNG", resolution=0, **how):
    return pictures.decode(encoded(image, kind, **how), resolution)


def on_white(colour, alpha):
    """Alpha compositing over 255, in real numbers."""
    return colour * (alpha / 255.0) + 255.0 * (1 - alpha / 255.0)


class TestKinds:
    def test_grey_and_rgb_are_kept(self):
        np.testing.assert_array_equal(decode(Image.fromarray(GREY)), GREY[..., None])
        np.testing.assert_array_equal(decode(Image.fromarray(RGB)), RGB)

    def test_one_bit_is_black_and_white(self):
        bits = GREY > 127
        np.testing.assert_array_equal(decode(Image.fromarray(bits))[..., 0], bits * 255)

    def test_alpha_lies_on_white(self):
        rgba = Image.fromarray(np.concatenate([RGB, ALPHA], axis=-1), "RGBA")
        assert np.abs(decode(rgba) - on_white(RGB, ALPHA)).max() <= 1
        la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA[..., 0])])
        assert decode(la).shape == (6, 9, 1)
        assert np.abs(decode(la) - on_white(GREY[..., None], ALPHA)).max() <= 1

    def test_a_transparent_colour_lies_on_white(self):
        image = Image.fromarray(RGB)
        pixels = decode(image, transparency=tuple(int(x) for x in RGB[2, 3]))
        assert pixels[2, 3].tolist() == [255, 255, 255]
        np.testing.assert_array_equal(pixels[0], RGB[0])

    @pytest.mark.parametrize("levels", [GREY > 127, GREY, DEEP])
    def test_a_transparent_level_of_grey_lies_on_white(self, levels):
        image, clear = Image.fromarray(levels), levels.min()
        expected = np.where(levels == clear, 255, decode(image)[..., 0])
        assert (expected != decode(image)[..., 0]).any()
        np.testing.assert_array_equal(decode(image, transparency=int(clear))[..., 0], expected)

    def test_palette(self):
        image = Image.new("P", (2, 1))
        image.putpalette([10, 20, 30, 200, 100, 50])
        image.putpixel((1, 0), 1)
        assert decode(image).tolist() == [[[10, 20, 30], [200, 100, 50]]]
        assert decode(image, transparency=0).tolist() == [[[255, 255, 255], [200, 100, 50]]]

    def test_cmyk(self):
        cmyk = np.zeros((1, 4, 4), np.uint8)
        cmyk[0, :, :] = np.eye(4) * 255  # Full cyan, magenta, yellow, black.
        pixels = decode(Image.fromarray(cmyk, "CMYK"), "TIFF")
        expected = [[0, 255, 255], [255, 0, 255], [255, 255, 0], [0, 0, 0]]
        np.testing.assert_array_equal(pixels[0], expected)

    @pytest.mark.parametrize(("kind", "dtype"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")])
    def test_16_bits_are_scaled(self, kind, dtype):
        mode = "I;16" if dtype == "<u2" else "I;16B"
        image = Image.frombytes(mode, (9, 6), DEEP.astype(dtype).tobytes())
        expected = np.rint(DEEP * (255 / 65535))
        np.testing.assert_array_equal(decode(image, kind)[..., 0], expected)

    def test_32_bits_hold_16(self):
        image = Image.fromarray(DEEP.astype(np.int32))
        np.testing.assert_array_equal(decode(image, "TIFF")[..., 0], np.rint(DEEP * (255 / 65535)))
        with pytest.raises(ValueError, match="its pixels run from -1 to 70000, beyond 16 bits"):
            decode(Image.fromarray(np.array([[-1, 70000]], np.int32)), "TIFF")

    def test_floating_point_has_no_white(self):
        with pytest.raises(ValueError, match="floating-point numbers, whose white is not defined"):
            decode(Image.fromarray(GREY.astype(np.float32)), "TIFF")

    def test_the_first_frame_of_an_animation(self):
        black, white = Image.new("L", (4, 4), 0), Image.new("L", (4, 4), 255)
        assert decode(black, "GIF", save_all=True, append_images=[white]).max() == 0

    @pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation(self, orientation, kind):
        """Pillow states the size of a PNG or WebP before it is turned, that of a TIFF as it is afterwards."""
        image, exif = Image.fromarray(RGB), Image.Exif()
        exif[pictures.EXIF_ORIENTATION] = orientation
        # The EXIF standard: where the 0th row and the 0th column are to be seen.
        seen = {
            1: RGB,
            2: RGB[:, ::-1],
            3: RGB[::-1, ::-1],
            4: RGB[::-1],
            5: RGB.transpose(1, 0, 2),
            6: RGB.transpose(1, 0, 2)[:, ::-1],
            7: RGB.transpose(1, 0, 2)[::-1, ::-1],
            8: RGB.transpose(1, 0, 2)[::-1],
        }[orientation]
        file = encoded(image, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
        np.testing.assert_array_equal(pictures.decode(file), seen)
        file.seek(0)
        assert pictures.header(file) == (seen.shape[:2], False)

    def test_truncation_shows(self):
        data = encoded(Image.fromarray(RGB)).getvalue()
        assert pictures.header(io.BytesIO(data[:-40])) == ((6, 9), False)
        with pytest.raises((OSError, SyntaxError)):
            pictures.decode(io.BytesIO(data[:-40]))

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
    def test_header_foretells_decode(self, mode):
        base = Image.fromarray(DEEP) if mode == "I;16" else Image.fromarray(RGB).convert(mode)
        file = encoded(base)
        pixels = pictures.decode(file)
        file.seek(0)
        assert pictures.header(file) == (pixels.shape[:2], pixels.shape[2] == 1)


class TestFit:
    @pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 6), (6, 6), (7, 10)])
    def test_central_square(self, height, width):
        pixels = RANDOM.integers(0, 256, (height, width), dtype=np.uint8)
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        fitted = np.asarray(pictures.fit(Image.fromarray(pixels), side))
        np.testing.assert_array_equal(fitted, pixels[top : top + side, left : left + side])

    def test_pixels_outside_the_square_do_not_leak_in(self):
        pixels = np.zeros((64, 128), np.uint8)
        pixels[:, :32] = pixels[:, 96:] = 255
        assert np.asarray(pictures.fit(Image.fromarray(pixels), 8)).max() == 0

    def test_smaller_is_antialiased(self):
        # A fine checkerboard is grey from afar; without a low-pass filter it is black or white.
        board = (np.indices((128, 128)).sum(axis=0) % 2 * 255).astype(np.uint8)
        fitted = np.asarray(pictures.fit(Image.fromarray(board), 16)).astype(int)
        assert np.abs(fitted - 127.5).max() < 3

    def test_larger_stays_in_range_and_keeps_flat_areas(self):
        pixels = np.repeat([[0, 255]], 2, axis=0).astype(np.uint8)
        fitted = np.asarray(pictures.fit(Image.fromarray(pixels), 32))
        assert fitted[:, 0].max() == 0
        assert fitted[:, -1].min() == 255

    def test_arrays_as_single_pictures(self):
        images = RANDOM.integers(0, 256, (3, 8, 12, 3), dtype=np.uint8)
        fitted = pictures.fit_array(images, 5)
        for image, row in zip(images, fitted, strict=True):
            np.testing.assert_array_equal(row, pictures.fit(Image.fromarray(image), 5))
        assert pictures.fit_array(images[:, :, :8], 8).shape == (3, 8, 8, 3)


class TestChannels:
    def test_grey_is_pillows(self):
        expected = np.asarray(Image.fromarray(RGB).convert("L"))
        np.testing.assert_array_equal(pictures.to_channels(RGB, 1)[..., 0], expected)

    def test_grey_to_rgb_and_back(self):
        rgb = pictures.to_channels(GREY[..., None], 3)
        assert rgb.shape == (6, 9, 3)
        np.testing.assert_array_equal(pictures.to_channels(rgb, 1), GREY[..., None])

    def test_alpha_lies_on_white(self):
        rgba = np.concatenate([RGB, ALPHA], axis=-1)
        for channels in (0, 3):
            pixels = pictures.to_channels(rgba, channels)
            assert np.abs(pixels - on_white(RGB, ALPHA)).max() <= 0.5 + 1e-9
        grey = pictures.to_channels(np.concatenate([GREY[..., None], ALPHA], axis=-1), 0)
        assert np.abs(grey - on_white(GREY[..., None], ALPHA)).max() <= 0.5 + 1e-9
