"""Draws the pictures of the README and of docs/index.md from trained runs.

jaxgan train && for m in gan wgan wgan_gp sngan; do jaxgan train --config ${m}_mixture2d; done
jaxgan train --config spade_digits && jaxgan train --config stargan2_digits
jaxgan prepare fashion_mnist && jaxgan train --config sngan_fashion_mnist
jaxgan train --config singan_picture --workdir runs/singan_hubble --config.data.path=docs/hubble.png \\
  --config.model.steps_per_scale=400 --config.train.steps=2000
python docs/make_pictures.py runs

docs/hubble.png is a part of the Hubble eXtreme Deep Field, NASA, ESA and the HUDF09 team, in the public domain:
columns 600 to 999 and rows 380 to 679 of scikit-image's `skimage.data.hubble_deep_field()`, reduced to 112 pixels.
"""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from jaxgan import config, train
from jaxgan.data.pictures import colours
from jaxgan.metrics.images import to_uint8
from jaxgan.metrics.modes import modes_found

DOCS = Path(__file__).parent


def mixtures(runs: Path) -> None:
    """2,500 samples of each mixture2d run, and how many of the 25 modes they find."""
    figure = Figure(figsize=(12, 3.3), layout="constrained")
    for name, axes in zip(("gan", "wgan", "wgan_gp", "sngan"), figure.subplots(1, 4), strict=True):
        run, engine, _, state = config.restore(runs / f"{name}_mixture2d")
        source = config.open_data(run.config)
        points = train.sample(engine, state, 2500)["image"]
        found = modes_found(points, source.centers, source.std)
        axes.scatter(*points.T, s=1, alpha=0.5)
        axes.scatter(*source.centers.T, s=40, facecolors="none", edgecolors="black", linewidths=0.5)
        axes.set_title(f"{name}: {found.modes} modes, {found.high_quality:.0%} near one")
        axes.set(xlim=(-5.5, 5.5), ylim=(-5.5, 5.5), aspect="equal", xticks=[], yticks=[])
    figure.savefig(DOCS / "mixture2d.png", dpi=80)


def skies(runs: Path) -> None:
    """The picture that SinGAN has learnt beside three samples, and under them one that is as wide as the four."""
    _, engine, _, state = config.restore(runs / "singan_hubble")
    learnt = train.read_picture(DOCS / "hubble.png")[None]
    samples = train.make(engine, state, "sample", options={"num": 3}).pictures
    height, width = learnt.shape[1:3]
    gap = 4
    whole = 4 * width + 3 * gap
    wide = train.make(engine, state, "sample", options={"num": 1, "width": whole / width}).pictures
    page = np.ones((2 * height + gap, whole, 3), np.float32)
    for i, picture in enumerate((*learnt, *samples)):
        page[:height, i * (width + gap) :][:, :width] = picture
    page[height + gap :] = wide[0]
    picture = Image.fromarray(to_uint8(page))
    picture.resize((2 * whole, 2 * len(page)), Image.Resampling.NEAREST).save(DOCS / "skies.png")


def translations(runs: Path) -> None:
    """Label maps painted in random styles by GauGAN, and digits in the classes and styles of others by StarGAN v2."""
    rows, styles, references, gap = 5, 3, 8, 8
    run, engine, _, state = config.restore(runs / "spade_digits")
    maps = held_out(run, rows)["label_map"]
    painted = [
        train.make(
            engine, state, "paint", seed=i, pictures={"label_map": m}, options={"samples": styles}
        ).pictures
        for i, m in enumerate(maps)
    ]
    drawn = colours()[maps] / np.float32(127.5) - 1
    left = np.concatenate([drawn[:, None], np.repeat(painted, 3, axis=-1)], axis=1)

    run, engine, _, state = config.restore(runs / "stargan2_digits")
    digits = held_out(run, references)["image"] / np.float32(127.5) - 1
    named = [("image", digits[: rows - 1]), ("reference", digits)]
    pictures = {f"{name}{i + 1 if i else ''}": x for name, of in named for i, x in enumerate(of)}
    options = {"domains": tuple(range(references))}
    right = train.make(engine, state, "references", pictures=pictures, options=options).pictures
    right = right.reshape(rows, references + 1, *right.shape[1:])
    for axis, times in ((2, 2), (3, 2), (4, 3)):  # as large as those of GauGAN, and with colours
        right = np.repeat(right, times, axis)
    left, right = tiled(left), tiled(right)
    between = np.ones((len(left), gap, 3), np.float32)
    page = np.concatenate([left, between, right], axis=1)
    picture = Image.fromarray(to_uint8(page))
    picture.resize((2 * page.shape[1], 2 * len(page)), Image.Resampling.NEAREST).save(
        DOCS / "translations.png"
    )


def held_out(run: config.Run, num: int) -> dict[str, np.ndarray]:
    """The first test digit of class 0, of class 1 and so on, with their further fields."""
    test = dataclasses.replace(run.config.data, split="test")
    source = config.open_data(dataclasses.replace(run.config, data=test))
    every = source.gather(np.arange(len(source)))
    # In a label map, the ink of digit d has label d + 1.
    digit = every["label"] if "label" in every else every["label_map"].max(axis=(1, 2)) - 1
    rows = [np.flatnonzero(digit == i)[0] for i in range(num)]
    return {name: values[rows] for name, values in every.items()}


def tiled(rows: np.ndarray) -> np.ndarray:
    """[R, N, H, W, C] as one picture with white lines between its parts."""
    framed = np.pad(rows, ((0, 0), (0, 0), (1, 1), (1, 1), (0, 0)), constant_values=1.0)
    r, n, h, w, c = framed.shape
    return framed.swapaxes(1, 2).reshape(r * h, n * w, c)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shutil.copy(folder / "sngan_digits" / "samples.png", DOCS / "digits.png")
    clothes = Image.open(folder / "sngan_fashion_mnist" / "samples.png")
    clothes.resize((2 * clothes.width, 2 * clothes.height), Image.Resampling.NEAREST).save(
        DOCS / "clothes.png"
    )
    mixtures(folder)
    skies(folder)
    translations(folder)
