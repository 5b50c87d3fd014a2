"""`jaxgan import`: published weights as a run, for `sample`, `make`, `evaluate`, `export` and `lipschitz`."""

from __future__ import annotations

import shlex

from jaxgan.cli.errors import user_errors
from jaxgan.options import OptionError

UNKNOWN = "PATH"  # in place of a path that is not known


def add_arguments(parser) -> None:
    parser.add_argument("kind", metavar="KIND", help="kind of the files, see `jaxgan import list`")
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help="files with the weights of one GAN, as its program wrote them; nothing in them is executed",
    )
    parser.add_argument("--out", help="folder of the new run, such as runs/imported")
    parser.epilog = (
        "The data that the networks were trained on, against which `jaxgan evaluate` measures them, are described as"
        " for `jaxgan train`: --config.data.name=folder --config.data.path=pictures/. They may be left out. The options"
        " are listed below."
    )


def explain(name: str | None, workdir: str | None, named: dict) -> list[str]:
    """The kinds, and the options of the data."""
    from jaxgan.cli.train import explain_sections

    del workdir
    named = {"config.data.name": "folder", **named}
    return [*listed(), "", *explain_sections("import", name, None, named, ("data",))]


def listed() -> list[str]:
    """The kinds of files, with a line about each."""
    from jaxgan import imports

    width = max(map(len, imports.KINDS))
    return [
        "kinds of files:",
        *(f"  {kind:{width}}  {about}" for kind, about in imports.about().items()),
    ]


def run(args) -> int:
    if args.kind == "list":
        print("\n".join(listed()))
        return 0
    with user_errors("import"):
        found, sentences, command = convert(args)
    print(f"{args.out} holds {found}.")
    for sentence in sentences:
        print(f"note: {sentence}.")
    print(f"Use it with:\n  {command}")
    return 0


def convert(args) -> tuple[str, list[str], str]:
    """Writes the run; (what it holds, sentences for the user, what to run next)."""
    from jaxgan import config, imports, train

    if not args.files or not args.out:
        raise ValueError(
            "there is nothing to import: give KIND, its FILEs and --out FOLDER; see the kinds with: jaxgan import list"
        )
    check_options(args.named["config"])
    if train.workdir.holds_run(args.out):
        raise FileExistsError(f"--out is {args.out}, which holds a run; choose a new folder.")
    kind = imports.load(args.kind)
    opened = [imports.Tensors.open(path) for path in args.files]
    for file, _ in opened:
        check_kind(args.kind, kind, file)
    imported = kind.read([file for file, _ in opened])
    settings = config.complete(
        {"model": {"name": imported.model, **imported.options}, "data": data_of(imported.spec)},
        {**of_size(args.named["config"], imported.spec), **args.named["config"]},
        "",
    )
    source = data_source(settings, imported.spec) if args.named["config"] else None
    made = config.make_run(settings, imported.spec if source is None else source.spec)
    engine = train.make_engine(made.game, train.Options(devices=1), settings.seed)
    state = train.imported.state_of(engine, imported)
    about = {
        "kind": args.kind,
        "players": sorted(imported.players),
        "files": {file.where: sha256 for file, sha256 in opened},
    }
    known = {} if source is None else train.workdir.of_data(source)
    train.imported.write(args.out, {**made.record, **known}, state, about)
    where = shlex.quote(args.out)
    sentences = [*imported.notes, *lacking(made, imported, where)]
    return described(made, imported), sentences, next_command(made, imported, where)


def check_options(named: dict[str, str]) -> None:
    """Raises unless all options are those of the data."""
    for name in named:
        if not name.startswith("data."):
            raise ValueError(
                f"--config.{name} cannot be set here, since the files determine the model; only the data can be"
                " described, as by --config.data.path=PATH."
            )


def check_kind(name: str, kind, file) -> None:
    """Raises unless the names of the file's tensors, or of the settings of a config, are those of the kind."""
    from jaxgan import imports

    names = [*file.names, *file.settings]
    if kind.files(names):
        return
    others = imports.resembling(names)
    if others:
        ways = " or ".join(f"jaxgan import {other} {shlex.quote(file.where)}" for other in others)
        raise ValueError(f"{file.where} does not look like {name}, but like {ways}.")
    raise ValueError(
        f"{file.where} does not look like {name}, nor like any other kind (its tensors start with"
        f" {', '.join(map(repr, names[:3]))}); see the kinds with: jaxgan import list"
    )


def data_of(spec) -> dict:
    """The config of data that are not known: a folder, whose path is missing."""
    size = {"resolution": spec.shape[0], "channels": spec.shape[-1]}
    if "attributes" in spec.fields:
        return {"name": "attributes", **size}
    if "condition" in spec.fields:  # without a path, its pairs are those of a built-in set
        return {"name": "pairs", "path": UNKNOWN, **size}
    return {"name": "folder", **size, "labels": "label" in spec.fields}


def of_size(named: dict[str, str], spec) -> dict[str, str]:
    """Options that bring data of another source to the size of the networks' pictures."""
    from jaxgan.config import has_option

    name = named.get("data.name")
    if name is None:
        return {}
    return {
        f"data.{option}": str(value)
        for option, value in data_of(spec).items()
        if option not in ("name", "path") and has_option("data", name, option)
    }


def data_source(settings, spec):
    """The data of a config, for networks that make examples of a specification.

    Raises:
      OptionError: the data are others than those that the networks make.
    """
    from jaxgan import config

    source = config.open_data(settings)
    if source.spec.shape != spec.shape:
        raise OptionError(
            None,
            None,
            f"the networks make pictures of shape {spec.shape}, but {source.summary} has {source.spec.shape}; give data"
            " of that shape, or leave them out.",
        )
    if spec.num_classes not in (None, source.spec.num_classes):
        raise OptionError(
            None,
            None,
            f"the networks have {spec.num_classes} classes, but {source.summary} has {source.spec.num_classes}; give"
            " the data with these classes, or leave them out.",
        )
    return source


def described(made, imported) -> str:
    """What a run holds, in words."""
    names = " and ".join(sorted(imported.players))
    shape = "x".join(map(str, imported.spec.shape))
    number = imported.spec.num_classes
    classes = "" if number is None else f", {number:,} classes"
    return f"{made.config.model_name} with the {names} for pictures of {shape}{classes}"


def next_command(made, imported, where: str) -> str:
    """The command that shows what the networks of the run in `where` make; a critic makes nothing."""
    random = made.game.players.keys() - imported.players.keys() - {"critic"}
    if "samples" in made.game.outputs and not random:
        return f"jaxgan sample --workdir {where}"
    return f"jaxgan make list --workdir {where}"


def lacking(made, imported, where: str) -> list[str]:
    """Sentences about players that were in no file, and data that are not known."""
    missing = sorted(made.game.players.keys() - imported.players.keys())
    found = []
    if missing:
        found.append(f"no file held the {' and '.join(missing)}, which has random weights")
    if getattr(made.config.data, "path", None) in ("", UNKNOWN):
        table = " --config.data.table=TABLE" if hasattr(made.config.data, "table") else ""
        found.append(
            f"the data are not known; measure the run on yours: jaxgan evaluate --workdir {where} --data PATH{table}"
        )
    return found
