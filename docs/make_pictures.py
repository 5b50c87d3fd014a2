"""Draws the README's pictures from trained runs.

jaxgan train && for m in gan wgan wgan_gp sngan; do jaxgan train --config ${m}_mixture2d; done
python docs/make_pictures.py runs
"""

import shutil
import sys
from pathlib import Path

from matplotlib.figure import Figure

from jaxgan import config, train
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


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shutil.copy(folder / "sngan_digits" / "samples.png", DOCS / "digits.png")
    mixtures(folder)
