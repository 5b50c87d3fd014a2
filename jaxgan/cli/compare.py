"""`jaxgan compare`: two results side by side, if their protocols agree."""

from __future__ import annotations

from jaxgan.cli.errors import user_errors


def add_arguments(parser) -> None:
    for name in ("a", "b"):
        parser.add_argument(
            name,
            metavar=name.upper(),
            help="a file with results of jaxgan evaluate (its last line is used), or the folder of a run",
        )


def run(args) -> int:
    from rich.console import Console
    from rich.table import Table

    from jaxgan.metrics.compare import compare

    with user_errors("compare"):
        a, b = read_result(args.a), read_result(args.b)
        rows = compare(a, b)
    console = Console()
    console.print(f"A  {args.a}\nB  {args.b}", soft_wrap=True)
    table = Table(title=f"protocol {a['protocol'].get('name', 'custom')}")
    table.add_column("score", no_wrap=True)
    for column in ("A", "B", "B - A"):
        table.add_column(column, justify="right")
    table.add_column("better")
    for row in rows:
        numbers = (f"{row.a:,.6g}", f"{row.b:,.6g}", f"{row.difference:+,.6g}")
        table.add_row(row.score, *numbers, row.better.upper())
    console.print(table)
    return 0


def read_result(text: str) -> dict:
    """The last result in a file, or in a run's folder."""
    import json
    from pathlib import Path

    from jaxgan.train.evaluation import EVALUATIONS

    path = Path(text)
    if path.is_dir():
        path = path / EVALUATIONS
    if not path.exists():
        raise FileNotFoundError(
            f"there is no {path}; give a file with a result of jaxgan evaluate, or the folder of a run that was"
            " evaluated."
        )
    lines = path.read_text().strip().splitlines()
    whole = "\n".join(lines)
    for candidate in (whole, lines[-1] if lines else ""):
        try:
            return json.loads(candidate)
        except json.JSONDecodeError:
            continue
    raise ValueError(f"{path} holds no result in JSON; give a file made by jaxgan evaluate.")
