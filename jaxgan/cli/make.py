"""`jaxgan make TOOL`: runs a tool of a trained run and saves its result."""

from __future__ import annotations

import shlex

from jaxgan.cli.errors import flags, user_errors
from jaxgan.cli.explain import lines
from jaxgan.cli.sample import add_run_arguments, check_folder
from jaxgan.tools import LIST


def add_arguments(parser) -> None:
    parser.add_argument(
        "tool", metavar="TOOL", help=f"name of the tool; `{LIST}` shows the tools of a run"
    )
    add_run_arguments(parser)
    parser.add_argument(
        "--out",
        help="file to write: .png for a grid, .gif, .webp or .mp4 for a film, .npz for arrays"
        " (default: TOOL.gif if the tool makes a film, else TOOL.png)",
    )
    parser.add_argument(
        "--arrays", metavar="FILE.npz", help="also write the tool's arrays to this file"
    )
    parser.add_argument(
        "--fps", type=int, default=25, help="frames per second of a film (default 25)"
    )
    parser.epilog = (
        "Options of a tool are set as --options.NAME=VALUE, and its input pictures are given as"
        " --pictures.NAME=FILE. With --workdir, the tools of the run and their options are listed below."
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The tools of a run, each with a command that runs it and its options."""
    from jaxgan import config

    del name, named
    if workdir is None:
        return []
    with user_errors("make"):
        return listed(config.reopen(workdir), workdir)


def run(args) -> int:
    from pathlib import Path

    import numpy as np

    from jaxgan import config, train

    if args.tool == LIST:
        with user_errors("make"):
            print("\n".join(listed(config.reopen(args.workdir), args.workdir)))
        return 0
    with user_errors("make"):
        out = Path(args.out) if args.out else None
        arrays = Path(args.arrays) if args.arrays else None
        train.made.check_path(out or f"{args.tool}.gif", args.fps)
        if out is not None:
            check_folder(out)
        if arrays is not None:
            if arrays.suffix != ".npz":
                raise ValueError(f"--arrays is {arrays}; it must end in .npz.")
            check_folder(arrays)
        trained, engine, step, state = config.restore(args.workdir, args.step, best=args.best)
        game = engine.game
        if not game.tools:
            raise ValueError(no_tools(trained, args.workdir))
        tool = train.made.find(game, args.tool)
        channels = tool.channels
        if not channels and game.spec.pictures:
            channels = game.spec.shape[-1]
        made = train.make(
            engine,
            state,
            args.tool,
            seed=args.seed,
            ema=not args.no_ema,
            pictures={
                name: (
                    train.read_label_map(file)
                    if name in tool.label_maps
                    else train.read_picture(file, channels)
                )
                for name, file in args.named["pictures"].items()
            },
            options=args.named["options"],
        )
    if out is None:
        out = Path(f"{args.tool}.{'gif' if made.film else 'png'}")
    with user_errors("make"):
        train.save_made(out, made, args.fps)
    print(f"{args.tool} of step {step:,} in {out}")
    for name, value in made.numbers.items():
        print(f"{name}: {float(value):,.6g}")
    if arrays is not None:
        with user_errors("make"):
            if not made.arrays:
                raise ValueError(f"{args.tool} makes no arrays; leave out --arrays.")
            named = {name: np.asarray(array) for name, array in made.arrays.items()}
            train.report.save_arrays(arrays, named)
        print(f"{', '.join(made.arrays)} in {arrays}")
    return 0


def listed(trained, workdir: str) -> list[str]:
    """The tools of a run, each with a command that runs it and its options."""
    from jaxgan import options

    game, found = trained.game, []
    if not game.tools:
        return [no_tools(trained, workdir)]
    workdir = shlex.quote(workdir)
    for name, tool in game.tools.items():
        command = [f"jaxgan make {name} --workdir {workdir}"]
        command += [f"--pictures.{picture}=FILE" for picture in tool.pictures]
        command += [f"[--pictures.{picture}=FILE]" for picture in tool.optional_pictures]
        found += [f"{name}: {tool.help}", f"  {' '.join(command)}"]
        found += lines(options.describe(tool.options), flags("make"), "    ")
    return found


def no_tools(trained, workdir: str) -> str:
    """That a run has no tools, and what to do with it instead."""
    name, workdir = trained.config.model_name, shlex.quote(workdir)
    if "samples" in trained.game.outputs:
        return f"{name} has no tools; draw samples: jaxgan sample --workdir {workdir}"
    return f"{name} has no tools; see {workdir}/transforms.png, or evaluate it: jaxgan evaluate --workdir {workdir}"
