"""`jaxgan data`: shows what a set of data holds, and saves a sheet of examples."""

from __future__ import annotations

import math

from jaxgan.cli.errors import user_errors

SHEET = 64  # examples on a sheet
POINTS = 2500
LARGEST = 256  # pixels of the longer side of a picture on a sheet; larger ones are reduced
SAMPLED = 10_000  # examples that are counted where counting all would mean to decode all
MOST_CLASSES, MOST_BROKEN = 50, 20  # lines


def add_arguments(parser) -> None:
    parser.add_argument(
        "--config",
        help="take the options of the data from this config: a name from `jaxgan list` or a .py file",
    )
    parser.add_argument(
        "--out", metavar="FILE.png", help="also save a sheet of examples, spread over the set"
    )
    parser.add_argument("--num", type=int, default=SHEET, help=f"examples on it (default {SHEET})")
    parser.epilog = (
        "The data are described as for `jaxgan train`: --config.data.name=folder --config.data.path=pictures/. The"
        " options are listed below."
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The options of the data."""
    from jaxgan.cli.train import explain_sections

    del workdir
    return explain_sections("data", name, None, named, ("data",))


def run(args) -> int:
    from pathlib import Path

    from jaxgan import config, train
    from jaxgan.cli.prepare import data_options
    from jaxgan.cli.progress import examples_progress
    from jaxgan.cli.sample import check_folder

    with user_errors("data"):
        if args.num < 1:
            raise ValueError(f"--num is {args.num}; it must be at least 1.")
        if args.out is not None:
            if not args.out.endswith(".png"):
                raise ValueError(f"--out is {args.out}; it must end in .png.")
            check_folder(Path(args.out))
        named = [f"{key}={value}" for key, value in data_options(args).items()]
        with examples_progress("reading") as show:
            source = config.open_data(config.load(args.config or config.DEFAULT, named), show)
        for line in described(source):
            print(line)
        if args.out is not None:
            num = min(POINTS if not source.spec.pictures else args.num, len(source))
            train.save_grid(
                args.out, sheet(source, num), gap=1 if len(source.spec.fields) < 2 else 4
            )
            print(f"{num:,} examples, spread over the set, in {args.out}")
    return 0


def described(source) -> list[str]:
    """What a source holds, in lines."""
    from jaxgan.data.shards import record_type

    each = record_type(source.spec).itemsize
    kept = "in memory" if source.in_memory else "read at each access"
    lines = [source.summary, f"examples: {len(source):,}, {kept}"]
    lines += [f"decoded: {_size(len(source) * each)}, {_size(each)} each", "fields:"]
    lines += [
        f"  {name}: {field}, {field.dtype} {list(field.shape)}"
        for name, field in source.spec.fields.items()
    ]
    for name, field in source.spec.fields.items():
        if field.kind in ("label", "attributes"):
            lines += _counts(source, name, field)
    lines.append(f"broken: {len(source.broken):,}")
    lines += [f"  {name}: {reason}" for name, reason in source.broken[:MOST_BROKEN]]
    if len(source.broken) > MOST_BROKEN:
        lines.append(f"  and {len(source.broken) - MOST_BROKEN:,} more")
    return [*lines, f"identity: {source.identity}"]


def _counts(source, name: str, field) -> list[str]:
    """How many examples each class or attribute has."""
    import numpy as np

    values, of = source.column(name), "all"
    if values is None:
        num = min(SAMPLED, len(source))
        values = np.concatenate([batch[name] for batch in source.spread(num)])
        of = "all" if num == len(source) else f"{num:,} spread over the set"
    counts = (
        np.bincount(values, minlength=field.number) if field.kind == "label" else values.sum(axis=0)
    )
    what = "classes" if field.kind == "label" else "attributes"
    lines = [f"{what}, and examples with each, of {of}:"]
    for number, count in enumerate(counts.tolist()[:MOST_CLASSES]):
        own = f" {field.names[number]}" if field.names else ""
        lines.append(f"  {number}{own}: {count:,}")
    if field.number > MOST_CLASSES:
        rest = counts[MOST_CLASSES:]
        lines.append(f"  and {len(rest):,} more, with {rest.min():,} to {rest.max():,}")
    return lines


def sheet(source, num: int):
    """`num` examples for a grid: all fields of pixels side by side, at most `LARGEST` pixels large; or points."""
    import numpy as np

    from jaxgan.data.pictures import colours
    from jaxgan.train.report import side_by_side

    batches = list(source.spread(num))
    batch = {name: np.concatenate([b[name] for b in batches]) for name in batches[0]}
    if not source.spec.pictures:
        return batch["image"]
    shown = [batch["condition"]] if "condition" in batch else []
    shown += [colours()[batch["label_map"] & 255]] if "label_map" in batch else []
    return side_by_side(*map(_reduced, (*shown, batch["image"])))


def _reduced(images):
    """Pictures [N, H, W, C] by averages of blocks, so that no side is above `LARGEST`."""
    import numpy as np
    from PIL import Image

    factor = math.ceil(max(images.shape[1:3]) / LARGEST)
    if factor == 1:
        return images
    reduced = [
        np.asarray(Image.fromarray(np.squeeze(x, 2) if x.shape[2] == 1 else x).reduce(factor))
        for x in images
    ]
    return np.stack(reduced).reshape(len(images), *reduced[0].shape[:2], images.shape[3])


def _size(num: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if num < 1024:
            return f"{num:,.0f} {unit}" if unit == "bytes" else f"{num:,.1f} {unit}"
        num /= 1024
    return f"{num:,.1f} GiB"
