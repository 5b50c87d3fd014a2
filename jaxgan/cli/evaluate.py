"""`jaxgan evaluate`: measures a trained run, or any set of pictures, against real ones by a named protocol."""

from __future__ import annotations

from jaxgan.cli.errors import user_errors
from jaxgan.cli.examples import FORMS
from jaxgan.cli.moved import add_data_arguments, given, notes, open_data
from jaxgan.cli.sample import add_run_arguments, sampling


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
        choices=("samples", "transforms"),
        help="evaluate samples, or transforms of real examples (default: samples, if the run makes any)",
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
        "--weights",
        help="file with the weights of the feature network, if they cannot be downloaded",
    )
    add_data_arguments(parser)
    parser.epilog = (
        "Sampling options of a run (truncation, temperature, ...) are set as --options.NAME=VALUE;"
        " with --workdir, they are listed below."
    )
    parser.add_argument(
        "--distributed",
        action="store_true",
        help="for evaluation on several hosts: call jax.distributed.initialize() first",
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The options of a run's sampling."""
    del name, named
    return sampling(workdir, "evaluate")


def run(args) -> int:
    import jax

    if args.protocol == "list":
        return show_protocols()
    if args.distributed:
        jax.distributed.initialize()
    with user_errors("evaluate"):
        result, title = (measure_run if args.workdir else measure_set)(args)
    if jax.process_index() == 0:
        show(result, title)
    return 0


def measure_run(args):
    """(result, title) of a trained run; the result is appended to those in the run's folder."""
    import jax

    from jaxgan import config, tools, train
    from jaxgan.cli.progress import weights_progress
    from jaxgan.metrics import protocols
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
    options = tools.complete(args.named["options"], trained.game.outputs[protocol.of].options)
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
        measured={"model": trained.config.model_name} | ({"best": True} if args.best else {}),
    )
    result = evaluator(engine, state, step)
    result |= modes(source, engine, state, args.seed, evaluator.ema)
    if not args.real and protocol.split == trained.config.data.split:
        result["notes"] += notes(trained, args.workdir, source)
    if jax.process_index() == 0:
        append_evaluation(args.workdir, result)
    return result, f"{trained.config.model_name}, step {step:,}"


def open_real(args, trained, protocol):
    """The real examples for a run: its own data, or `--real`, with its classes numbered as those of the run."""
    from jaxgan.train.classes import compares_classes, pair_classes

    here = {"split": protocol.split}
    source = open_set(args.real, args, protocol) if args.real else open_data(trained, args, **here)
    if source.spec.shape != trained.spec.shape:
        raise ValueError(
            f"the run was trained on examples of shape {trained.spec.shape}, but {source.summary} has"
            f" {source.spec.shape}; evaluate against data of the same shape."
        )
    transforms = protocol.of == "transforms"
    if transforms:
        check_inputs(trained.game.outputs[protocol.of].needs, trained.spec, source)
    conditional = trained.game.num_classes is not None
    if conditional and (transforms or compares_classes(protocol.scores)):
        label = trained.spec.fields["label"]
        source = pair_classes(source, label, f"the run in {args.workdir}", protocol.scores)
    return source


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
    from jaxgan.metrics.evaluate import check, evaluate, needs_of
    from jaxgan.metrics.summary import summarise

    if not args.fake or not args.real:
        raise ValueError(
            "there is nothing to evaluate: give --workdir (a run), or --fake and --real (two sets of pictures)."
        )
    protocol = chosen_protocol(args, protocols.by_name(args.protocol or protocols.DEFAULT))
    check_sets(args, protocol)
    real, fake = open_pair(args, protocol)
    if args.protocol in (None, protocols.DEFAULT) and not args.num:
        protocol = protocols.adapted(
            protocol,
            num_fake=min(protocol.num_fake, len(fake)),
            num_real=min(protocol.num_real, len(real)),
        )
    evaluator = train.make_evaluator(
        real,
        protocol,
        weights=args.weights,
        num=args.num or 0,
        progress=weights_progress,
    )
    protocol, extractor = evaluator.protocol, evaluator.extractor
    if protocol.num_fake > len(fake):
        raise ValueError(
            f"the protocol {protocol.name!r} takes {protocol.num_fake:,} generated examples, but {fake.summary} has"
            f" only {len(fake):,}; generate more, or give a smaller --num, which makes it another protocol"
        )
    needs = needs_of(check(protocol, extractor), "fake")
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
        stated={DATA: real.summary, FINGERPRINT: real.identity},
        measured={"fake": fake.summary, "fake_fingerprint": fake.identity},
    )
    return result, fake.summary


def check_sets(args, protocol) -> None:
    """Raises if an argument applies to runs only."""
    if given(args):
        raise ValueError(
            "--data and --config.data.path apply to a run (--workdir), not to two sets of pictures; leave them out."
        )
    if args.named["options"]:
        raise ValueError("--options apply to a run (--workdir), not to two sets of pictures.")
    if args.of or protocol.of == "transforms":
        raise ValueError(
            "transforms can be evaluated only for a run (--workdir); for two sets of pictures, choose a protocol of"
            " samples and leave out --of."
        )


def open_pair(args, protocol):
    """(`--real`, `--fake`), with the same numbers of the same classes if a score compares these."""
    from jaxgan.train.classes import compares_classes, pair_classes

    real, fake = open_set(args.real, args, protocol), open_set(args.fake, args, protocol)
    if compares_classes(protocol.scores):
        label = real.spec.fields.get("label")
        fake = pair_classes(fake, label, real.summary, protocol.scores)
    return real, fake


def chosen_protocol(args, protocol):
    """The protocol with the changes of the command line."""
    from jaxgan.metrics import protocols

    if args.num is not None and args.num < 1:
        raise ValueError(f"--num is {args.num}; it must be at least 1.")
    changes = {
        name: value
        for name, value in (
            ("split", args.split),
            ("features", args.features),
            ("resize", args.resize),
            ("scores", tuple(args.scores.split(",")) if args.scores else None),
        )
        if value
    }
    return protocols.adapted(protocol, **changes)


def open_set(text: str, args, protocol):
    """A set of examples; pictures that differ in size are resized if the features have a fixed input size."""
    from jaxgan.cli.examples import open_examples
    from jaxgan.metrics.resize import resize_on_host
    from jaxgan.metrics.scores import SCORES
    from jaxgan.nets.features import networks

    net = networks().get(protocol.features)
    classes = any(SCORES[name].labels for name in protocol.scores if name in SCORES)
    if net is None or net.size is None:
        return open_examples(text, protocol.split, classes=classes)
    mode = protocol.resize or net.resize
    fit = lambda picture: resize_on_host(picture, net.size, mode)  # noqa: E731
    return open_examples(text, protocol.split, net.size, fit, classes)


def show(result: dict, title: str) -> None:
    import json

    from rich.console import Console
    from rich.table import Table

    from jaxgan.metrics.compare import scores

    protocol = result["protocol"]
    reals = "" if protocol["num_real"] is None else f"{protocol['num_real']:,} real and "
    made = "generated" if protocol["of"] == "samples" else "transforms of them"
    console = Console()
    console.print(title, soft_wrap=True, highlight=False)
    table = Table(title=f"{protocol['name']}: {reals}{protocol['num_fake']:,} {made}")
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in scores(result).items():
        table.add_row(name, f"{value:,.6g}")
    console.print(table)
    for note in result["notes"]:
        console.print(f"note: {note}", soft_wrap=True)
    print(json.dumps(result))


def show_protocols() -> int:
    from rich.console import Console
    from rich.table import Table

    from jaxgan.metrics.protocols import PROTOCOLS

    table = Table(title="protocols of jaxgan evaluate")
    for column in ("name", "scores", "of", "features", "generated", "real", "source"):
        table.add_column(column, no_wrap=column == "name")
    for name, protocol in PROTOCOLS.items():
        reals = "all" if protocol.num_real is None else f"{protocol.num_real:,}"
        resize = f" ({protocol.resize})" if protocol.resize else ""
        table.add_row(
            name,
            ", ".join(protocol.scores),
            protocol.of,
            protocol.features + resize,
            f"{protocol.num_fake:,}",
            f"{reals} of {protocol.split}",
            protocol.source,
        )
    Console().print(table)
    return 0


def modes(source, engine, state, seed: int, ema: bool) -> dict[str, float]:
    """For a mixture of known Gaussians: the modes found by 2,500 samples, and the share of samples near a mode."""
    from jaxgan import train
    from jaxgan.metrics.modes import modes_found

    if not hasattr(source, "centers"):
        return {}
    points = train.sample(engine, state, 2500, seed, ema)["image"]
    found = modes_found(points, source.centers, source.std)
    return {"modes_of_2500_samples": found.modes, "high_quality_share": found.high_quality}
