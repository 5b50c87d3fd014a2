"""`jaxgan evaluate`: measures a trained run, or any set of pictures, against real ones by a named protocol."""

from __future__ import annotations

from typing import Any

from jaxgan.cli import processes, results
from jaxgan.cli.errors import user_errors
from jaxgan.cli.examples import FORMS
from jaxgan.cli.moved import add_data_arguments, given, notes, open_data
from jaxgan.cli.sample import add_run_arguments, check_folder, sampling
from jaxgan.options import OptionError

# `protocols.OF`, which is slow to import.
OF = ("samples", "transforms", "translations", "latent", "reference")


def add_arguments(parser) -> None:
    add_run_arguments(parser, required=False)
    parser.add_argument("--fake", help=f"a set to measure instead of a run: {FORMS}")
    parser.add_argument(
        "--real", help="set of real examples (default with --workdir: the data of the run)"
    )
    parser.add_argument(
        "--protocol",
        help="name of the protocol; `--protocol list` shows all (default: quick, or reconstruction for transforms)",
    )
    parser.add_argument(
        "--of",
        choices=OF,
        help="evaluate samples, transforms of real examples, or translations to other domains: of the domain alone, in"
        " the style of a latent or of a reference (default: what the run makes)",
    )
    parser.add_argument(
        "--num",
        type=int,
        help="number of generated and of real examples (all, if there are fewer real ones), instead of the protocol's",
    )
    parser.add_argument("--split", help="split of the real data, instead of the protocol's")
    parser.add_argument(
        "--scores", help="names of the scores, separated by commas, instead of the protocol's"
    )
    parser.add_argument("--features", help="name of the features, instead of the protocol's")
    parser.add_argument(
        "--resize",
        choices=("tf1", "clean", "torch"),
        help="method of resizing, instead of that of the features",
    )
    parser.add_argument(
        "--ignored",
        help="labels, separated by commas, whose pixels the score label_maps does not count (default: none)",
    )
    add_count_arguments(parser)
    add_conversion_arguments(parser)
    parser.add_argument(
        "--out",
        help="file to which the whole result is added as a line of JSON, for `jaxgan compare`",
    )
    parser.add_argument(
        "--weights",
        help="file with the weights of the feature network, if they cannot be downloaded",
    )
    add_data_arguments(parser)
    parser.epilog = (
        "Sampling options of a run (truncation, temperature, ...) are set as --options.NAME=VALUE;"
        " with --workdir, they are listed below."
    )
    processes.add_arguments(parser)


def add_count_arguments(parser) -> None:
    """Adds the numbers of parts and neighbours that scores take; the published ones need many examples."""
    for name, text in (
        ("nearest_k", "neighbour that defines the radii of precision and recall"),
        ("density_k", "neighbour that defines the radii of density and coverage"),
        ("splits", "number of parts of the class score (IS)"),
        ("subsets", "number of subsets of the kernel distance (KID)"),
        ("subset_size", "examples in a subset of the kernel distance (KID)"),
    ):
        parser.add_argument(f"--{name}", type=int, help=f"{text}, instead of the protocol's")


def add_conversion_arguments(parser) -> None:
    """Adds the options that bring the pictures of two sets to one shape."""
    parser.add_argument(
        "--resolution",
        type=int,
        help="side in pixels that the pictures of --real and --fake are cropped and resized to (default: their size)",
    )
    parser.add_argument(
        "--channels",
        type=int,
        choices=(1, 3),
        help="1 to convert the pictures of --real and --fake to grey, 3 to RGB (default: what they have)",
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The options of a run's sampling."""
    del name, named
    return sampling(workdir, "evaluate")


def run(args) -> int:
    from pathlib import Path

    import jax

    from jaxgan.train.evaluation import EVALUATIONS

    if args.protocol == "list":
        return show_protocols()
    with user_errors("evaluate"):
        if args.out:
            check_folder(Path(args.out))
        result, title = (measure_run if args.workdir else measure_set)(args)
    if jax.process_index() == 0:
        show(result, title)
        if args.out:
            results.write(result, args.out)
        else:
            results.show(result, Path(args.workdir) / EVALUATIONS if args.workdir else None)
    return 0


def measure_run(args):
    """(result, title) of a trained run; the result is appended to those in the run's folder."""
    import jax

    from jaxgan import config, tools, train
    from jaxgan.cli.progress import weights_progress
    from jaxgan.metrics import protocols
    from jaxgan.metrics.scores import output_of
    from jaxgan.train.evaluation import append_evaluation

    if args.fake:
        raise ValueError("--workdir and --fake exclude each other; give one of them.")
    if args.real and given(args):
        raise ValueError(
            "--real and the place of the run's data exclude each other; leave out --data (--config.data.path), or"
            " --real."
        )
    trained, engine, step, state = config.restore(
        args.workdir, args.step, best=args.best, devices=0
    )
    base = train.evaluation.protocol_of(trained.game, args.protocol or "", args.of or "")
    protocol = chosen_protocol(args, base)
    train.evaluation.check_output(trained.game, protocol)
    output = trained.game.outputs[output_of(protocol)]
    options = tools.complete(args.named["options"], output.options)
    source = open_real(args, trained, protocol)
    evaluator = train.make_evaluator(
        source,
        protocol,
        weights=args.weights,
        num=args.num or 0,
        fit=args.protocol in (None, *protocols.DEFAULTS),
        progress=weights_progress,
        seed=args.seed,
        ema=not args.no_ema,
        options=options,
        stated=converted(args),
        measured={"model": trained.config.model_name} | ({"best": True} if args.best else {}),
    )
    result = evaluator(engine, state, step)
    if protocol.of == "samples" and not args.scores and hasattr(source, "centers"):
        points = args.num or 2500  # VEEGAN's number
        drawn = train.sample(engine, state, points, args.seed, evaluator.ema, **options)["image"]
        add_modes(result, source, drawn)
    if not args.real and protocol.split == trained.config.data.split:
        result["notes"] += notes(trained, args.workdir, source)
    if jax.process_index() == 0:
        append_evaluation(args.workdir, result)
    return result, f"{trained.config.model_name}, step {step:,}"


def open_real(args, trained, protocol):
    """The real examples for a run: its own data, or `--real`, with its classes numbered as those of the run."""
    from jaxgan.train.classes import compares_classes, pair_classes

    if not args.real and (args.resolution or args.channels):
        raise ValueError(
            "--resolution and --channels convert the sets --real and --fake; leave them out to use the data of the run."
        )
    here = {"split": protocol.split}
    source = open_set(args.real, args, protocol) if args.real else open_data(trained, args, **here)
    check_shape(source, trained.spec.shape, convert=bool(args.real))
    transforms, output = protocol.of != "samples", trained.game.outputs[protocol.of]
    if transforms:
        known = trained.spec.fields
        own = [name for name in ("label", "attributes") if output.fields and name in known]
        needs = [name for name in output.needs if name not in output.fields]
        check_inputs(dict.fromkeys((*needs, *own)), trained.spec, source)
    conditional = trained.game.num_classes is not None or (
        bool(output.fields) and "label" in trained.spec.fields
    )
    if conditional and (transforms or compares_classes(protocol.scores)):
        label = trained.spec.fields["label"]
        source = pair_classes(source, label, f"the run in {args.workdir}", protocol.scores)
    return source


def check_shape(source, shape: tuple[int, ...], convert: bool) -> None:
    """Raises unless the examples of a source have the shape that a run was trained on.

    Args:
      source: the real examples.
      shape: that of the run.
      convert: whether the command has options that convert the source.
    """
    if source.spec.shape != shape:
        raise OptionError(
            None,
            None,
            f"the run was trained on examples of shape {shape}, but {source.summary} has {source.spec.shape};"
            " evaluate against data of the same shape",
            *(conversion(source.spec.shape, shape) if convert else []),
            lead=", or convert it",
        )


def check_inputs(names, trained, source) -> None:
    """Raises unless the source has these fields, as the data that the run was trained on (the spec `trained`)."""
    for name in names:
        wanted, found = trained[name], source.spec.fields.get(name)
        if found is None or (found.kind, found.shape) != (wanted.kind, wanted.shape):
            raise ValueError(
                f"the run makes transforms of '{name}' ({wanted}), but {source.summary} has"
                f" {'none' if found is None else found}; evaluate on data with such a '{name}'."
            )


def measure_set(args):
    """(result, title) of a set of pictures."""
    from jaxgan import train
    from jaxgan.cli.progress import weights_progress
    from jaxgan.metrics import protocols
    from jaxgan.metrics.compare import DATA, FINGERPRINT
    from jaxgan.metrics.evaluate import evaluate, needs_of
    from jaxgan.metrics.scores import SCORES
    from jaxgan.metrics.summary import summarise

    if not args.fake or not args.real:
        raise ValueError(
            "there is nothing to evaluate: give --workdir (a run), or --fake and --real (two sets of pictures)."
        )
    protocol = chosen_protocol(args, protocols.by_name(args.protocol or protocols.DEFAULT))
    check_sets(args, protocol)
    real, fake = open_pair(args, protocol)
    evaluator = train.make_evaluator(
        real,
        protocol,
        weights=args.weights,
        num=args.num or 0,
        fit=args.protocol in (None, protocols.DEFAULT),
        fake=fake,
        progress=weights_progress,
    )
    protocol, extractor = evaluator.protocol, evaluator.extractor
    needs = needs_of({name: SCORES[name] for name in protocol.scores}, "fake")
    assert needs is not None, "every score uses the generated examples"
    summary = summarise(
        fake.spread(protocol.num_fake),
        extractor,
        protocol.num_fake,
        "fake",
        needs,
    )
    result = evaluate(
        evaluator.real(),
        summary,
        extractor,
        protocol,
        stated={DATA: real.summary, FINGERPRINT: real.identity, **converted(args)},
        measured={"fake": fake.summary, "fake_fingerprint": fake.identity},
    )
    return result, fake.summary


def check_sets(args, protocol) -> None:
    """Raises if an argument applies to runs only."""
    from jaxgan.metrics.scores import OF_WALKS

    if given(args):
        raise ValueError(
            "--data and --config.data.path apply to a run (--workdir), not to two sets of pictures; leave them out."
        )
    if args.named["options"]:
        raise ValueError("--options apply to a run (--workdir), not to two sets of pictures.")
    if args.of or protocol.of != "samples":
        raise ValueError(
            f"{args.of or protocol.of} can be evaluated only for a run (--workdir); for two sets of pictures, choose a"
            " protocol of samples and leave out --of."
        )
    if walks := set(protocol.scores) & set(OF_WALKS):
        raise ValueError(
            f"the score {min(walks)!r} measures the latent space of a run (--workdir); for two sets of pictures, choose"
            " another protocol."
        )


def open_pair(args, protocol):
    """(`--real`, `--fake`), with the same numbers of the same classes if a score compares these."""
    from jaxgan.train.classes import compares_classes, pair_classes

    real, fake = open_set(args.real, args, protocol), open_set(args.fake, args, protocol)
    check_alike(real, fake, protocol)
    if compares_classes(protocol.scores):
        label = real.spec.fields.get("label")
        fake = pair_classes(fake, label, real.summary, protocol.scores)
    return real, fake


def chosen_protocol(args, protocol):
    """The protocol with the changes of the command line."""
    from jaxgan.metrics import protocols

    if args.num is not None and args.num < 1:
        raise ValueError(f"--num is {args.num}; it must be at least 1.")
    for name, least in protocols.COUNTS.items():
        value = getattr(args, name)
        if value is not None and value < least:
            raise OptionError(name, value, f"it must be at least {least}", {name: least})
    if args.resolution is not None and args.resolution < 1:
        raise ValueError(f"--resolution is {args.resolution}; it must be at least 1.")
    changes = {
        name: value
        for name, value in (
            ("split", args.split),
            ("features", args.features),
            ("resize", args.resize),
            ("scores", tuple(args.scores.split(",")) if args.scores else None),
            ("ignored", ignored_labels(args.ignored) if args.ignored else None),
            *((name, getattr(args, name)) for name in protocols.COUNTS),
        )
        if value
    }
    return protocols.adapted(protocol, **changes)


def ignored_labels(text: str) -> tuple[int, ...]:
    """The labels of `--ignored`."""
    try:
        return tuple(int(label) for label in text.split(","))
    except ValueError:
        raise ValueError(
            f"--ignored is {text!r}; it must be numbers of labels, separated by commas."
        ) from None


def open_set(text: str, args, protocol):
    """A set of examples; pictures that differ in size are resized if the features have a fixed input size."""
    from jaxgan.cli.examples import open_examples
    from jaxgan.metrics.resize import resize_on_host
    from jaxgan.metrics.scores import SCORES
    from jaxgan.nets.features import networks

    net, changes = networks().get(protocol.features), converted(args)
    classes = any(SCORES[name].labels for name in protocol.scores if name in SCORES)
    if net is None or net.size is None:
        return open_examples(text, protocol.split, classes=classes, **changes)
    size, mode = net.size, protocol.resize or net.resize
    fit = lambda picture: resize_on_host(picture, size, mode)  # noqa: E731
    return open_examples(text, protocol.split, size, fit, classes, **changes)


def converted(args) -> dict[str, Any]:
    """The size and channels that sets are converted to: options of their source, and fields of the protocol."""
    given = {"resolution": args.resolution, "channels": args.channels}
    return {name: value for name, value in given.items() if value}


def check_alike(real, fake, protocol) -> None:
    """Raises if the examples of two sets differ in shape, and the features do not resize them."""
    from jaxgan.nets.features import networks

    if protocol.features in networks() and real.spec.pictures and fake.spec.pictures:
        return
    one, other = real.spec.shape, fake.spec.shape
    if one != other:
        side = min(*one[:2], *other[:2])
        sides = one[:2] if one[:2] == other[:2] else (side, side)
        shape = (*sides, max(one[-1], other[-1]))
        raise OptionError(
            None,
            None,
            f"the examples of both sets must have one shape, but {real.summary} has {one} and {fake.summary}"
            f" has {other}{'' if len(one) == len(other) else '; give two sets of pictures, or two of points'}",
            *({**a, **b} for a in conversion(one, shape) for b in conversion(other, shape)),
        )


def conversion(shape: tuple[int, ...], wanted: tuple[int, ...]) -> list[dict[str, int]]:
    """The options that convert pictures of a shape to that wanted, as a fix; none for points, or if there are none."""
    if len(shape) != 3 or len(wanted) != 3:
        return []
    resized = shape[:2] != wanted[:2]
    if resized and wanted[0] != wanted[1]:
        return []
    fix = {"data.resolution": wanted[0]} if resized else {}
    return [fix | ({"data.channels": wanted[2]} if shape[2] != wanted[2] else {})]


def show(result: dict, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    from jaxgan.metrics.compare import scores

    protocol = result["protocol"]
    reals = "" if protocol["num_real"] is None else f"{protocol['num_real']:,} real and "
    kinds = {"samples": "generated", "transforms": "transforms of them"}
    made = kinds.get(protocol["of"], f"translations ({protocol['of']})")
    console = Console()
    console.print(title, soft_wrap=True, highlight=False)
    name = protocol["name"]
    console.print(
        f"protocol {name}: {reals}{protocol['num_fake']:,} {made}", soft_wrap=True, highlight=False
    )
    table = Table()
    table.add_column("score", overflow="fold")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("better", no_wrap=True)
    table.add_column("unit")
    for name, value in scores(result).items():
        table.add_row(name, f"{value:,.6g}", result["better"][name], result["units"][name])
    console.print(table)
    for note in result["notes"]:
        console.print(f"note: {note}", soft_wrap=True)


def show_protocols() -> int:
    """Prints the protocols, each as its name and a paragraph that fits the terminal."""
    import shutil
    import textwrap

    from jaxgan.metrics.protocols import PROTOCOLS

    columns = shutil.get_terminal_size().columns
    for name, protocol in PROTOCOLS.items():
        reals = "all" if protocol.num_real is None else f"{protocol.num_real:,}"
        resize = f", resized by {protocol.resize}" if protocol.resize else ""
        text = (
            f"{', '.join(protocol.scores)} of {protocol.of}, in {protocol.features}{resize};"
            f" {protocol.num_fake:,} generated, {reals} real of {protocol.split}. {protocol.source}"
        )
        print(name)
        for line in textwrap.wrap(text, max(columns - 4, 20), break_on_hyphens=False):
            print(f"    {line}")
    return 0


def add_modes(result: dict, source, points) -> None:
    """Adds the modes that samples of a mixture of known Gaussians found, and the share of samples near a mode.

    Args:
      result: of `jaxgan.metrics.evaluate.evaluate`.
      source: the mixture, with its `centers` and `std`.
      points: the samples, [N, 2].
    """
    from jaxgan.metrics.modes import modes_found

    found = modes_found(points, source.centers, source.std)
    for name, value, unit in (
        (f"modes_of_{len(points)}_samples", found.modes, f"of {len(source.centers)} modes"),
        ("high_quality_share", found.high_quality, "share, 0 to 1"),
    ):
        result[name] = value
        result["better"][name], result["units"][name] = "higher", unit
