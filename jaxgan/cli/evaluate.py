"""`jaxgan evaluate`: measures a trained run against its data, in features that need no download."""

from __future__ import annotations

from jaxgan.cli.errors import user_errors
from jaxgan.cli.sample import add_run_arguments

EVALUATIONS = "evaluations.jsonl"


def add_arguments(parser) -> None:
    add_run_arguments(parser)
    parser.add_argument(
        "--num",
        type=int,
        default=5000,
        help="how many real and how many generated (5000, or all the data has)",
    )
    parser.add_argument("--split", help="of the data to compare with (the one trained on)")
    parser.add_argument(
        "--features", help="random_conv (the default) or pixels for pictures; points for points"
    )
    parser.add_argument(
        "--data", help="where the data lies now (config.data.path), if it has moved since training"
    )


def run(args) -> int:
    import dataclasses
    import json
    from pathlib import Path

    from rich.console import Console
    from rich.table import Table

    from jaxgan import config, data, train
    from jaxgan.metrics import extractor_for
    from jaxgan.metrics.evaluate import evaluate

    with user_errors():
        if args.num < 4:
            raise ValueError(f"--num is {args.num}; precision and recall need at least 4 examples.")
        trained, engine, step, state = config.restore(args.workdir, args.step)
        options = data.DataOptions(**trained.config.data)
        changes = {
            name: value for name, value in (("split", args.split), ("path", args.data)) if value
        }
        source = data.open_source(dataclasses.replace(options, **changes))
        if source.spec.shape != trained.spec.shape:
            raise ValueError(
                f"the run was trained on examples of shape {trained.spec.shape}, but {source.summary} has"
                f" {source.spec.shape}; evaluate against data of the same shape."
            )
        extractor = extractor_for(source.spec.shape, args.features)
    num = min(args.num, len(source))
    ema = not args.no_ema and "generator" in state.ema
    result = evaluate(
        source.spread(num),
        train.iterate_samples(engine, state, num, args.seed, ema),
        extractor,
        num,
        num,
        data=source.summary,
        split=args.split or options.split,
        step=step,
        kimg=trained.game.images(step) / 1000,
        seed=args.seed,
        ema=ema,
        batch_statistics="running averages",
        labels="balanced" if trained.game.num_classes else "none",
    )
    result |= modes(source, engine, state, args.seed, ema)
    table = Table(
        title=f"{trained.config.model.name}, step {step:,}, {num:,} real and {num:,} generated"
    )
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in result.items():
        if name != "protocol":
            table.add_row(name, f"{value:,.6g}")
    Console().print(table)
    print(json.dumps(result))
    with (Path(args.workdir) / EVALUATIONS).open("a") as file:
        file.write(json.dumps(result) + "\n")
    return 0


def modes(source, engine, state, seed: int, ema: bool) -> dict[str, float]:
    """For a mixture of known Gaussians: how many of its modes 2,500 samples find, and how many samples lie near one."""
    from jaxgan import train
    from jaxgan.metrics.modes import modes_found

    if not hasattr(source, "centers"):
        return {}
    points = train.sample(engine, state, 2500, seed, ema)["image"]
    found = modes_found(points, source.centers, source.std)
    return {"modes_of_2500_samples": found.modes, "high_quality_share": found.high_quality}
