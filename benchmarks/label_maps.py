"""Trains a config on label maps for some minutes, and measures how well the maps are recovered from its pictures.

    python benchmarks/label_maps.py CONFIG --minutes 10 --out FOLDER [model.norm=batch ...]

Data are the street pictures of CamVid with maps of 12 labels, in $JAXGAN_TEST_DATA/camvid: 367 for training and 233 to
test on, the middle squares reduced to --side pixels. A model without label maps, such as `pix2pix`, is trained on
pairs: its condition is the map in colours. A segmenter, a U-Net of 24 to 96 channels, is trained on the real training
pictures first, for --segmenter_rounds batches of 16, and kept in --segmenter for further runs and for `jaxgan evaluate
--protocol label_maps --weights SEGMENTER --ignored 11`. The mean intersection over union and the accuracy are of the
maps that it finds in the test pictures, generated and real; label 11, "unlabelled", is not counted. They depend on the
segmenter, so compare runs with one segmenter only.

The folder receives scores.json and pictures.png (rows of map, picture, and generated picture of the test set).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from on_device_steps.training import VARIABLE, stopping

from jaxgan import config, data, train
from jaxgan.data.pictures import colours
from jaxgan.metrics import segmentation_scores
from jaxgan.metrics.images import to_uint8
from jaxgan.metrics.segmenter import LABEL_MAP, Segmenter
from jaxgan.nets.norm import GroupNorm

LABELS, IGNORED = 12, 11
BATCH = 16


class Net(nn.Module):
    """Pictures [B, H, W, 3] in [-1, 1] to logits [B, H, W, labels]: a U-Net with three halvings."""

    labels: int = LABELS
    widths: tuple[int, ...] = (24, 48, 96, 96)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        def block(x, width):
            for _ in range(2):
                x = nn.relu(GroupNorm(8, affine=True)(nn.Conv(width, (3, 3), use_bias=False)(x)))
            return x

        seen = []
        for width in self.widths[:-1]:
            seen.append(block(x, width))
            x = nn.max_pool(seen[-1], (2, 2), (2, 2))
        x = block(x, self.widths[-1])
        for width, skip in zip(self.widths[-2::-1], seen[::-1], strict=True):
            x = nn.ConvTranspose(width, (2, 2), (2, 2))(x)
            x = block(jnp.concatenate([x, skip], axis=-1), width)
        return nn.Conv(self.labels, (1, 1))(x)


def train_segmenter(source: data.Source, rounds: int, seed: int = 0):
    """Parameters after `rounds` batches, mirrored at random; Adam with a learning rate that decays by a cosine."""
    module, rng = Net(), np.random.default_rng(seed)
    every = source.gather(np.arange(len(source)))
    pictures, maps = every["image"].astype(np.float32) / 127.5 - 1, every["label_map"]
    params = module.init(jax.random.key(seed), jnp.asarray(pictures[:1]))
    optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, rounds), weight_decay=1e-4)
    state = optimizer.init(params)

    @jax.jit
    def update(params, state, x, labels):
        def loss(params):
            each = optax.softmax_cross_entropy_with_integer_labels(module.apply(params, x), labels)
            return jnp.mean(each, where=labels != IGNORED)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    for step in range(rounds):
        rows = rng.integers(0, len(pictures), BATCH)
        turn = slice(None, None, rng.choice([-1, 1]))
        labels = maps[rows][:, :, turn].astype(np.int32)
        params, state, value = update(params, state, pictures[rows][:, :, turn], labels)
        if step % 100 == 0 or step == rounds - 1:
            print(f"segmenter {step}/{rounds}: {float(value):.3f}", flush=True)
    return params


def segmenter(file: Path, source: data.Source, rounds: int) -> Segmenter:
    """The segmenter in `file`; trained and saved first if there is no such file."""
    if not file.exists():
        params = train_segmenter(source, rounds)

        @jax.jit
        def segment(pictures):
            return Net().apply(params, pictures.astype(jnp.float32) / jnp.float32(127.5) - 1)

        batch = jax.export.symbolic_shape("b")[0]
        pictures = jax.ShapeDtypeStruct((batch, *source.spec.shape), jnp.uint8)
        platforms = ["cpu", "cuda", "tpu"]
        file.write_bytes(jax.export.export(segment, platforms=platforms)(pictures).serialize())
    return Segmenter(file)


def recovered(segmenter: Segmenter, pictures: np.ndarray) -> np.ndarray:
    """The label maps [N, H, W] found in pictures, uint8 [N, H, W, 3]."""
    find = jax.jit(segmenter)
    parts = np.array_split(pictures, -(-len(pictures) // 64))
    return np.concatenate([np.asarray(find(part)[LABEL_MAP]) for part in parts])


def options(split: str, side: int) -> list[str]:
    """Of the data source of maps."""
    path = Path(os.environ[VARIABLE]) / "camvid" / f"camvid_192x256_{split}.npz"
    return [f"data.path={path}", "data.split=all", f"data.resolution={side}", "data.channels=3"]


def open_as(name: str, split: str, side: int, given: list[str]) -> data.Source:
    """The pictures as a config opens them: with label maps, or in pairs with maps in colours."""
    more = [f"data.num_labels={LABELS}"] if name == "label_maps" else ["data.direction=AtoB"]
    base = "spade_digits" if name == "label_maps" else "pix2pix_digits"
    return config.open_data(config.load(base, [*options(split, side), *more, *given]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--segmenter", type=Path, required=True, help="file, made if there is none")
    parser.add_argument("--segmenter_rounds", type=int, default=800)
    parser.add_argument("--side", type=int, default=64, help="pixels of a picture")
    parser.add_argument("options", nargs="*", help="NAME=VALUE")
    args = parser.parse_intermixed_args()
    args.out.mkdir(parents=True, exist_ok=True)
    maps, tests = (open_as("label_maps", split, args.side, []) for split in ("train", "test"))
    judge = segmenter(args.segmenter, maps, args.segmenter_rounds)
    real = tests.gather(np.arange(len(tests)))
    scores = {"real": score(judge, real["image"], real)}
    print(json.dumps(scores), flush=True)

    kind = config.load(args.config).data_name
    source, held_out = (open_as(kind, split, args.side, []) for split in ("train", "test"))
    flip = [*options("train", args.side), "data.flip=true"]
    flip += [f"data.num_labels={LABELS}"] if kind == "label_maps" else ["data.direction=AtoB"]
    cfg = config.load(args.config, [*flip, *args.options])
    run, start = config.make_run(cfg, source.spec), time.monotonic()
    with stopping(60 * args.minutes):
        result = run.train(config.open_data(cfg), args.out / "run")
    made = train.transform(
        result.engine, result.state, held_out.gather(np.arange(len(held_out))), jax.random.key(0)
    )
    scores |= {
        "config": args.config,
        "options": args.options,
        "minutes": (time.monotonic() - start) / 60,
        "rounds": result.step,
        "kimg": result.engine.game.images(result.step) / 1000,
        "generated": score(judge, np.asarray(to_uint8(made)), real),
    }
    (args.out / "scores.json").write_text(json.dumps(scores, indent=1))
    print(json.dumps(scores), flush=True)
    rows = np.linspace(0, len(tests) - 1, 8).astype(int)
    drawn = colours()[real["label_map"][rows]] / np.float32(127.5) - 1
    pictures = real["image"][rows] / np.float32(127.5) - 1
    shown = np.stack([drawn, pictures, made[rows]], axis=1).reshape(-1, *made.shape[1:])
    train.save_grid(args.out / "pictures.png", shown, 6)


def score(judge: Segmenter, pictures: np.ndarray, real: dict) -> dict[str, float]:
    found = segmentation_scores(recovered(judge, pictures), real["label_map"], LABELS, (IGNORED,))
    return {"mean_iou": found.mean_iou, "accuracy": found.accuracy}


if __name__ == "__main__":
    main()
