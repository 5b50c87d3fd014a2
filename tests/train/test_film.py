"""Films, decoded again."""

import importlib.util

import numpy as np
import pytest
from PIL import Image

from jaxgan.train import film, save_film

RNG = np.random.default_rng(0)


def blocks(shape):
    """Random pictures of 8 x 8 blocks, as a codec that halves colour can keep them."""
    n, h, w, c = shape
    small = RNG.integers(0, 256, (n, -(-h // 8), -(-w // 8), c), np.uint8)
    return small.repeat(8, 1).repeat(8, 2)[:, :h, :w]


def decoded(path):
    """(uint8 [N, H, W, 3], milliseconds of each frame, how often it goes round: 0 is for ever)."""
    with Image.open(path) as picture:
        frames, durations = [], []
        for i in range(picture.n_frames):
            picture.seek(i)
            frames.append(np.asarray(picture.convert("RGB")))
            durations.append(picture.info["duration"])
        return np.stack(frames), durations, picture.info["loop"]


@pytest.mark.parametrize(("ending", "channels"), [(".gif", 1), (".webp", 1), (".webp", 3)])
def test_every_pixel_of_every_frame_comes_back(tmp_path, ending, channels):
    frames = RNG.integers(0, 256, (4, 260, 301, channels), np.uint8)
    save_film(tmp_path / f"film{ending}", frames, fps=20)
    found, durations, loop = decoded(tmp_path / f"film{ending}")
    assert (found == frames).all()
    assert (durations, loop) == ([50] * 4, 0)


def test_a_gif_of_few_colours_is_exact_and_of_many_close(tmp_path):
    frames = blocks((3, 256, 256, 3))
    frames[1:] = frames[1:] // 128 * 128  # eight colours
    save_film(tmp_path / "film.gif", frames)
    found, durations, _ = decoded(tmp_path / "film.gif")
    assert durations == [40, 40, 40]
    assert (found[1:] == frames[1:]).all()
    assert 0 < np.abs(found[0].astype(int) - frames[0]).mean() < 12


def test_small_frames_are_enlarged_and_floats_quantised(tmp_path):
    frames = np.linspace(-1, 1, 2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8, 1)
    save_film(tmp_path / "film.gif", frames)
    found, _, _ = decoded(tmp_path / "film.gif")
    assert found.shape == (2, 256, 256, 3)
    assert (found[:, ::32, ::32, :1] == np.round(127.5 * frames + 127.5)).all()


@pytest.mark.parametrize(("height", "width", "channels"), [(256, 320, 3), (257, 301, 1)])
def test_an_mp4_has_the_frames_the_rate_and_even_sides(tmp_path, height, width, channels):
    av = pytest.importorskip("av", reason="PyAV (extra video) is not installed")
    frames = blocks((5, height, width, channels))
    save_film(tmp_path / "film.mp4", frames, fps=10)
    assert [path.name for path in tmp_path.iterdir()] == ["film.mp4"]
    with av.open(str(tmp_path / "film.mp4")) as container:
        (stream,) = container.streams.video
        assert (stream.average_rate, stream.codec_context.name) == (10, "h264")
        assert stream.codec_context.pix_fmt == "yuv420p"
        found = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(stream)])
    assert found.shape == (5, height + height % 2, width + width % 2, 3)
    error = np.abs(found[:, :height, :width].astype(int) - frames)
    assert error.mean() < (6 if channels == 3 else 3)
    # Frames are in order: each is nearer to its own than to any other.
    distances = np.abs(found[:, None, :height, :width].astype(int) - frames[None]).mean((2, 3, 4))
    assert distances.argmin(axis=1).tolist() == [0, 1, 2, 3, 4]
    if height % 2:
        assert np.abs(found[:, -1].astype(int) - found[:, -2]).mean() < 4  # the last row again


def test_what_is_no_film_is_refused_before_it_is_made(tmp_path, monkeypatch):
    frames = blocks((2, 8, 8, 1))
    with pytest.raises(
        ValueError, match=r"a\.avi is not the name of a film; it must end in \.gif, \.webp, \.mp4\."
    ):
        save_film(tmp_path / "a.avi", frames)
    for fps in (0, 101):
        with pytest.raises(ValueError, match=f"fps is {fps}; it must be from 1 to 100 frames"):
            save_film(tmp_path / "a.gif", frames, fps)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError,
        match=r'a\.mp4 needs PyAV: pip install "av>=14"; or save the film as',
    ):
        film.check_film(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
