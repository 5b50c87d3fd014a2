"""`jaxgan lipschitz`: bounds the Lipschitz constant of a trained critic, layer by layer and as a whole."""

from __future__ import annotations

import sys

from jaxgan.cli import results
from jaxgan.cli.errors import seed, user_errors
from jaxgan.cli.moved import add_data_arguments, notes, open_data
from jaxgan.cli.sample import class_number

CERTIFICATES = "lipschitz.jsonl"


def add_arguments(parser) -> None:
    parser.add_argument("--workdir", required=True, help="folder of a training run")
    parser.add_argument("--step", type=int, help="step of the checkpoint (default: the latest)")
    parser.add_argument("--seed", type=seed, default=0, help="random seed (default 0)")
    parser.add_argument(
        "--num",
        type=int,
        default=64,
        help="number of real examples at which gradient ascent for the lower bound starts (default 64)",
    )
    parser.add_argument(
        "--label",
        help="class for a conditional critic, by name or number (default: the first class)",
    )
    parser.add_argument("--player", default="critic", help="name of the critic (default critic)")
    add_data_arguments(parser)


def run(args) -> int:
    from pathlib import Path

    import jax
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from jaxgan.spectral.certificate import COLUMNS, lipschitz_certificate

    with user_errors("lipschitz"):
        trained, step, label, critic, samples, kernels = open_critic(args)
        print("jaxgan: bounding the critic, which takes a minute or two", file=sys.stderr)
        found = lipschitz_certificate(critic, samples, jax.random.key(args.seed), kernels=kernels)
    name = label_name(trained.game, label)
    of = "" if label is None else f", label {label}"
    of += "" if name in (None, str(label)) else f" ({name})"
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title=escape(f"{trained.config.model_name}, step {step:,}, {args.player}{of}"),
    )
    for i, column in enumerate(COLUMNS):
        table.add_column(
            column, justify="left" if i < 3 else "right", overflow="fold", no_wrap=i == 0
        )
    for row in found.rows():
        table.add_row(*row)
    console = Console()
    console.print(table)
    console.print(
        f"{found.lower:.6g} <= Lipschitz constant <= {found.upper:.6g}\n"
        f"the lower bound is from gradient ascent from {len(samples)} real examples; the upper bound holds for all"
        f" inputs, except with probability {found.failure:.1g}",
        soft_wrap=True,
    )
    result = {
        "upper": found.upper,
        "lower": found.lower,
        "layers": [layer._asdict() for layer in found.layers],
        "protocol": {
            "step": step,
            "kimg": trained.game.images(step) / 1000,
            "player": args.player,
            "label": label,
            "label_name": name,
            "num_real": len(samples),
            "seed": args.seed,
            "failure": found.failure,
            "norm": "l2",
        },
    }
    results.write(result, Path(args.workdir) / CERTIFICATES)
    return 0


def check_imported(args) -> None:
    """Raises if the run was imported from files without this player, whose weights are random."""
    from jaxgan import train

    held = train.imported.players(train.workdir.read(args.workdir))
    if held is not None and args.player not in held:
        raise ValueError(
            f"the {args.player} of {args.workdir} has random weights, since the run was imported and its files held"
            f" only the {' and '.join(held)}; import it again with the file of the {args.player}."
        )


def label_name(game, label: int | None) -> str | None:
    """The name of a class; None if the classes have no names."""
    names = () if label is None else game.spec["label"].names
    return names[label] if names else None


def open_critic(args):
    """(run, step, label or None, critic as a closure of samples, real samples, the kernels of its layers)."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxgan import config
    from jaxgan.nets.spectral import kernels

    if args.num < 1:
        raise ValueError(f"--num is {args.num}; the ascent needs at least one real example.")
    run = config.reopen(args.workdir)
    players = run.game.players
    if args.player not in players or players[args.player].score is None:
        names = ", ".join(name for name, player in players.items() if player.score is not None)
        raise ValueError(
            f"--player is '{args.player}', but this run has {f'only {names}' if names else 'no player'} to bound."
        )
    check_imported(args)
    first = None if run.game.num_classes is None else 0
    number = first if args.label is None else class_number(args.label, run.game)
    source = open_data(run, args)
    for line in notes(run, args.workdir, source):
        print(f"jaxgan: {line}", file=sys.stderr)
    run, _, step, state = config.restore(args.workdir, args.step)
    images = jnp.asarray(source.images(min(args.num, len(source))))
    samples = run.spec.decode({"image": images})["image"]
    network = jax.tree.map(np.asarray, run.game.networks(state, ema=False)[args.player])
    score = run.game.players[args.player].score
    assert score is not None, "as above"

    def critic(x: jax.Array) -> jax.Array:
        label = None if number is None else jnp.full(x.shape[:1], number, jnp.int32)
        return score(network, x, label)

    return run, step, number, critic, samples, kernels(lambda: critic(samples[:1]))
