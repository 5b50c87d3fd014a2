"""`jaxgan report`: one HTML page of a run, or of several side by side, from the files in their folders."""

from __future__ import annotations

from jaxgan.cli.errors import user_errors

PAGE = "report.html"


def add_arguments(parser) -> None:
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="folders of runs to show side by side"
    )
    parser.add_argument("--workdir", help="folder of the run, as for the other commands")
    parser.add_argument(
        "--out", help=f"file of the page (default RUN/{PAGE}; for several runs {PAGE})"
    )


def run(args) -> int:
    from pathlib import Path

    from jaxgan.cli.pages import runs
    from jaxgan.train.report import replace_atomically

    with user_errors("report"):
        folders = ([args.workdir] if args.workdir else []) + args.runs
        if not folders:
            raise ValueError(
                "report needs the folder of a run; give --workdir DIR, or several folders."
            )
        opened = runs.open_runs(folders)
        out = Path(args.out) if args.out else Path(folders[0] if len(folders) == 1 else ".") / PAGE
        text = runs.page(opened)
        replace_atomically(out, lambda path: path.write_text(text, encoding="utf-8"))
    print(f"the page is {out} ({out.stat().st_size / 2**20:.1f} MiB)")
    return 0
