"""Films of pictures: GIF and WebP by Pillow, MP4 by PyAV."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from jaxgan.metrics.images import to_uint8
from jaxgan.train.report import enlarged, replace_atomically

FPS = 25  # 40 milliseconds a frame, which every format can say
FASTEST = 100  # GIF counts time in hundredths of a second


def save_film(path: str | Path, frames: np.ndarray, fps: int = FPS) -> None:
    """Frames as a film that the ending of `path` names: .gif, .webp or .mp4. GIF and WebP go round for ever.

    Frames are enlarged by a whole number where a grid would be. WebP keeps every pixel; GIF has 256 colours to a
    frame, and shows greys as they are; MP4 is H.264 with colour at half resolution, whose odd sides are made even
    by repeating their last row or column.

    Args:
      path: of the file.
      frames: uint8 [N, H, W, 1 or 3], or float in [-1, 1].
      fps: frames in a second.

    Raises:
      ValueError: the path ends otherwise, or `fps` cannot be.
      ImportError: the path ends in .mp4 and PyAV is not installed.
    """
    path = Path(path)
    check_film(path, fps)
    frames = frames if frames.dtype == np.uint8 else to_uint8(frames)
    write = FORMATS[path.suffix.lower()]
    replace_atomically(path, lambda temporary: write(temporary, enlarged(frames), fps))


def check_film(path: str | Path, fps: int = FPS) -> None:
    """Raises what `save_film` would, before there are any frames."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"{path} is no film; it must end in {', '.join(FORMATS)}.")
    if not 1 <= fps <= FASTEST:
        raise ValueError(f"fps is {fps}; it must be from 1 to {FASTEST} frames a second.")
    if path.suffix.lower() == ".mp4" and importlib.util.find_spec("av") is None:
        raise ImportError(
            f'{path} needs PyAV: pip install "jaxgan[video]"; or let the film end in .gif or .webp.'
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
        # What every player shows: H.264 in 4:2:0, which halves the sides; 18 is hard to tell from the frames.
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
