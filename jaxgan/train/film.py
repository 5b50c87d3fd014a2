"""Films of pictures: GIF and WebP by Pillow, MP4 by PyAV."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.metrics.images import to_uint8
from jaxgan.train.report import enlarged, replace_atomically

FPS = 25  # 40 milliseconds a frame, which every format can represent
FASTEST = 100  # GIF counts time in hundredths of a second


def save_film(path: str | Path, frames: np.ndarray, fps: int = FPS) -> None:
    """Saves frames as a film in the format of the suffix of `path`: .gif, .webp or .mp4. GIF and WebP repeat forever.

    Small frames are enlarged by a whole number, as in `save_grid`. WebP is lossless. GIF has 256 colours per frame, and
    keeps greys exactly. MP4 is H.264 with colour at half resolution; odd sides are made even by repeating their last
    row or column.

    Args:
      path: of the file.
      frames: uint8 [N, H, W, 1 or 3], or float in [-1, 1].
      fps: frames in a second.

    Raises:
      ValueError: the path has another suffix, or `fps` is out of range.
      ImportError: the suffix is .mp4 and PyAV is not installed.
    """
    path = Path(path)
    check_film(path, fps)
    frames = frames if frames.dtype == np.uint8 else to_uint8(frames)
    write = FORMATS[path.suffix.lower()]
    replace_atomically(path, lambda temporary: write(temporary, enlarged(frames), fps))


def check_film(path: str | Path, fps: int = FPS) -> None:
    """Raises the errors of `save_film` about `path` and `fps`, before there are any frames."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} is not the name of a film; it must end in {', '.join(FORMATS)}.")
    if not 1 <= fps <= FASTEST:
        raise ValueError(f"fps is {fps}; it must be from 1 to {FASTEST} frames a second.")
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("av") is None:
        raise ImportError(
            f'{path} needs PyAV: pip install "av>=14"; or save the film as .gif or .webp.'
        )


def _save_gif(path: Path, frames: np.ndarray, fps: int) -> None:
    first, *others = (Image.fromarray(f[..., 0] if f.shape[-1] == 1 else f) for f in frames)
    duration = [round(1000 / fps)] * len(frames)
    first.save(path, format="GIF", save_all=True, append_images=others, duration=duration, loop=0)


def _save_webp(path: Path, frames: np.ndarray, fps: int) -> None:
    first, *others = map(Image.fromarray, _coloured(frames))
    how = {"duration": round(1000 / fps), "loop": 0, "lossless": True}
    first.save(path, format="WEBP", save_all=True, append_images=others, **how)


def _save_mp4(path: Path, frames: np.ndarray, fps: int) -> None:
    import av

    frames = _coloured(frames)
    height, width = frames.shape[1:3]
    with av.open(str(path), "w", format="mp4") as container:
        # Every player supports H.264 in 4:2:0, which needs even sides. At crf 18 the loss is hardly visible.
        stream = container.add_stream("libx264", rate=fps, options={"crf": "18"})
        stream.width, stream.height = width + width % 2, height + height % 2
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            even = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())


def _coloured(frames: np.ndarray) -> np.ndarray:
    return np.repeat(frames, 3, axis=-1) if frames.shape[-1] == 1 else frames


FORMATS: dict[str, Callable[[Path, np.ndarray, int], None]] = {
    ".gif": _save_gif,
    ".webp": _save_webp,
    ".mp4": _save_mp4,
}
