"""`jaxgan export`: trained networks for other programs."""

from __future__ import annotations

from jaxgan.cli.errors import user_errors
from jaxgan.cli.sample import add_run_arguments, check_folder, sampling

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def add_arguments(parser) -> None:
    add_run_arguments(parser)
    parser.add_argument(
        "--out",
        required=True,
        help="file to write: .safetensors for the arrays of the networks; .stablehlo for an output as a program of"
        " jax.export, (seed, fields) -> rows, which runs with JAX alone",
    )
    parser.add_argument(
        "--output",
        default="",
        help="of .stablehlo: the output (default: samples, else the first one)",
    )
    parser.add_argument(
        "--num", type=int, default=16, help="of .stablehlo: rows of a call (default 16)"
    )
    parser.add_argument(
        "--platforms",
        default="cpu,cuda,tpu",
        help=f"of .stablehlo: where it will run (default cpu,cuda,tpu; also {PLATFORMS[2]})",
    )
    parser.epilog = (
        "Options of the output (truncation, temperature, ...) are fixed in the program by --options.NAME=VALUE; with"
        " --workdir, those of the run are listed below."
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The options of a run's outputs."""
    del name, named
    return sampling(workdir, "export")


def run(args) -> int:
    from pathlib import Path

    from jaxgan import config
    from jaxgan.train.report import replace_atomically

    with user_errors("export"):
        out = Path(args.out)
        kinds = {".safetensors": tensors, ".stablehlo": program}
        if out.suffix not in kinds:
            raise ValueError(
                f"--out is {args.out}; it must end in .safetensors (arrays) or .stablehlo (a program)."
            )
        check_folder(out)
        platforms(args.platforms)
        if args.num < 1:
            raise ValueError(f"--num is {args.num}; ask for at least one row.")
        restored = config.restore(args.workdir, args.step, best=args.best)
        data, sentence = kinds[out.suffix](restored, args)
        replace_atomically(out, lambda path: path.write_bytes(data))
    print(f"{sentence} of step {restored[2]:,} in {out} ({len(data) / 2**20:.1f} MiB)")
    return 0


def platforms(text: str) -> list[str]:
    """The platforms that `--platforms` names."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    wrong = sorted(set(names) - set(PLATFORMS))
    if wrong or not names:
        raise ValueError(
            f"--platforms is '{text}', but it must name some of {', '.join(PLATFORMS)}, such as --platforms cpu,cuda."
        )
    return names


def tensors(restored, args) -> tuple[bytes, str]:
    """(the file, what it holds): the collections of all networks, by path, with the config as metadata."""
    import json

    import jax
    import numpy as np
    from flax.traverse_util import flatten_dict
    from safetensors.numpy import save

    trained, _, step, state = restored
    networks = trained.game.networks(state, not args.no_ema)
    arrays = {
        f"{player}/{'/'.join(path)}": np.asarray(jax.device_get(value))
        for player, network in networks.items()
        for path, value in flatten_dict(dict(network.variables)).items()
    }
    known = {
        "format": "jaxgan",
        "step": str(step),
        "averaged": str(not args.no_ema and bool(state.ema)).lower(),
        "config": json.dumps(trained.config.to_dict()),
    }
    return save(arrays, known), f"{len(arrays)} arrays of {', '.join(networks)}"


def program(restored, args) -> tuple[bytes, str]:
    """(the file, what it holds): an output as a function of a seed and the fields that it needs."""
    import jax
    import jax.numpy as jnp
    from jax import export

    from jaxgan import tools

    trained, engine, _, state = restored
    outputs = trained.game.outputs
    name = args.output or ("samples" if "samples" in outputs else next(iter(outputs)))
    if name not in outputs:
        raise ValueError(f"--output is '{name}', but this run makes {', '.join(outputs)}.")
    most = engine.chunk_rows(name)
    if args.num > most:
        raise ValueError(
            f"--num is {args.num}, but a call makes at most {most} rows; set --num {most}."
        )
    output = outputs[name]
    options = tools.complete(args.named["options"], output.options)
    state = jax.device_get(state)
    function = engine.output_function(state, name, args.num, ema=not args.no_ema, **options)
    spec = trained.game.spec.with_fields(output.fields)
    fields = {
        field: jax.ShapeDtypeStruct((args.num, *spec[field].shape), spec[field].dtype)
        for field in output.needs
    }

    def of_seed(seed: jax.Array, given: dict) -> jax.Array:
        return function(jax.random.key(seed), given)

    wanted = platforms(args.platforms)
    exported = export.export(jax.jit(of_seed), platforms=wanted)(
        jax.ShapeDtypeStruct((), jnp.uint32), fields
    )
    needs = f" and {{{', '.join(fields)}}}" if fields else " and {}"
    sentence = f"'{name}' as a function of a seed (uint32){needs}, {args.num} rows, for {', '.join(wanted)},"
    return bytes(exported.serialize()), sentence
