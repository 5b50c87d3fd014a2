"""The arguments that say where the data of a trained run are stored now, and what is said if they are others."""

from __future__ import annotations

from typing import Any

from jaxgan.options import PLACES


def add_data_arguments(parser) -> None:
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="short for --config.data.path=PATH: where the data of the run are, if they were moved since training"
        " (likewise --config.data.table, --config.data.data_dir)",
    )


def given(args) -> dict[str, str]:
    """{"data.path": ..., ...}: the places that the arguments name.

    Raises:
      ValueError: they set another option of the run's config.
    """
    named = dict(args.named["config"])
    if args.data:
        named.setdefault("data.path", args.data)
    places = [f"data.{name}" for name in PLACES]
    for name in named:
        if name not in places:
            raise ValueError(
                f"--config.{name} cannot be set here: of the config of a trained run, only the place of its data can"
                f" change ({', '.join(f'--config.{place}' for place in places)})."
            )
    return named


def open_data(trained, args, **changes: Any):
    """The data of a trained run, where they are now, with `changes` of their options."""
    from jaxgan import config
    from jaxgan.options import declared

    named = given(args)
    for name in named:
        if name.removeprefix("data.") not in declared(type(trained.config.data)):
            flag = "--data" if args.data and name == "data.path" else f"--config.{name}"
            raise ValueError(
                f"{flag} cannot be set here: the run's data, {trained.config.data_name}, have no such place; leave it"
                " out."
            )
    places: dict[str, Any] = {n.removeprefix("data."): value for n, value in named.items()}
    return config.open_data(trained.config, **places, **changes)


def notes(trained, workdir: str, source) -> list[str]:
    """A note if the data are known to be others than those that the run was trained on, of the same split."""
    from jaxgan import train

    known = train.workdir.read(workdir).get(train.workdir.FINGERPRINT)
    if known is None or known == source.identity:
        return []
    return [
        f"the run was trained on other data than {source.summary}; if its data were moved, set"
        " --config.data.path=PATH"
    ]
