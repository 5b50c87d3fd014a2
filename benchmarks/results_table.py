"""Writes what the benchmarks have found into the page of results, docs/results.md, each block between two marks.

    python benchmarks/results_table.py            # rewrites the blocks
    python benchmarks/results_table.py --check    # exit status 1 if a block is not what it would write

"on_device": what `on_device.py` has found on accelerators, of `benchmarks/results/on_device_*.jsonl`. Of each part of a
step the last good line counts; where there is none, the block says how it ended. "round_speed": the tables of
`round_speed.py`, of `benchmarks/results/round_speed_*.json`. `cifar10_table.py show` writes the block "cifar10".
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "results.md"
RESULTS = Path(__file__).resolve().parent / "results"
NOTHING = "Not yet run on a GPU or TPU."

Line = dict
Parts = dict[str, dict[str, Line]]  # step -> part -> its line


def put(name: str, text: str, page: str) -> str:
    """The page with this text in the block of this name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{text}\n{end}{after}"


def on_device(files: list[Path]) -> str:
    """The block of accelerators."""
    found = [device_text(lines) for lines in map(read, sorted(files)) if lines]
    return "\n\n".join(found) if found else NOTHING


def read(path: Path) -> list[Line]:
    """The lines of parts, of full size."""
    lines = [json.loads(text) for text in path.read_text().splitlines() if text.strip()]
    return [line for line in lines if line["part"] is not None and line["size"] == "full"]


def device_text(lines: list[Line]) -> str:
    parts: Parts = {}
    for line in lines:
        of = parts.setdefault(line["step"], {})
        before = of.get(line["part"])
        if before is None or line["status"] == "ok" or before["status"] != "ok":
            of[line["part"]] = line
    last = lines[-1]
    versions = ", ".join(f"{name} {number}" for name, number in last["versions"].items() if number)
    commits = sorted({line["commit"][:7] for line in lines})
    head = f"**{last['device']}** ({versions}; commit {', '.join(commits)}; {last['time'][:10]})"
    sections = [head]
    for section in SECTIONS:
        sections += section(parts)
    return "\n\n".join(sections)


# Sections: each returns paragraphs, none where its step has not run. ----------------------------------------------


def rates(parts: Parts) -> list[str]:
    result = good(parts, "device").get("rates")
    if result is None:
        return []
    return [
        f"Matrix products of 8192 rows reach {result['bfloat16_tflops']:.0f} TFLOP/s in bfloat16 and"
        f" {result['float32_tflops']:.0f} in float32 (as XLA computes it by default), a copy"
        f" {result['copy_gb_per_s']:,.0f} GB/s."
    ]


def configs(parts: Parts) -> list[str]:
    of = parts.get("configs", {})
    if not of:
        return []
    results, shipped = good(parts, "configs"), list((ROOT / "configs").glob("[!_]*.py"))
    text = f"{len(results)} of {len(shipped)} shipped configs compile, train three rounds and make something."
    bad = [f"`{name}`" for name, line in of.items() if line["status"] == "error"]
    if bad:
        text += f" Not so: {', '.join(bad)}."
    if len(results) + len(bad) < len(shipped):
        text += " The others were not reached, or not compiled, in the time of the step."
    changed = [f"`{name}` {' '.join(r['changes'])}" for name, r in results.items() if r["changes"]]
    if changed:
        text += f" With changes: {'; '.join(changed)}."
    return [text]


def trajectory(parts: Parts) -> list[str]:
    rows = []
    for precision, result in good(parts, "trajectory").items():
        last = str(result["rounds"] - 1)
        distances = (result["distance"][kind][last] for kind in ("params", "u", "metrics"))
        rows.append([precision, *(f"{distance:.1e}" for distance in distances)])
    if not rows:
        return []
    return [
        "Relative distance from the CPU's trajectory after five rounds of `sngan_digits`, by the precision of float32"
        " products:",
        table(["Precision", "Parameters", "u vectors", "Metrics"], rows),
    ]


def resume(parts: Parts) -> list[str]:
    told = []
    for part, result in good(parts, "resume").items():
        how = "with `--xla_gpu_deterministic_ops=true`" if part == "deterministic" else "as it is"
        if result["bit_for_bit"]:
            told.append(f"{how}, all {result['leaves']} leaves are the same bit for bit")
        else:
            told.append(
                f"{how}, {result['different']} of {result['leaves']} leaves differ"
                f" (by {result['distance']:.1e} at most)"
            )
    if not told:
        return []
    return [f"A run that is saved and resumed in a new process: {'; '.join(told)}."]


def speed(parts: Parts) -> list[str]:
    rows = []
    for model in ("sngan", "wgan_gp"):
        results = good(parts, f"speed_{model}")
        for part, result in results.items():
            if part.endswith("compiled"):
                continue
            ours, theirs = result["jaxgan"], result.get("torch")
            compiled = results.get(f"{part} compiled", {}).get("torch")
            rows.append(
                [
                    f"`{model}`",
                    result["dtype"],
                    str(result["batch"]),
                    number(ours["images_per_second"]),
                    percent(ours["utilisation"]),
                    *(number(t and t["images_per_second"]) for t in (theirs, compiled)),
                    number(ours["peak_mib"] or ours["program_mib"]),
                    number(theirs and theirs["peak_mib"]),
                ]
            )
    if not rows:
        return []
    heads = [
        "Round at 32x32",
        "dtype",
        "Batch",
        "Images/s",
        "Of the peak rate",
        "PyTorch, images/s",
    ]
    return [table([*heads, "compiled", "MiB", "PyTorch, MiB"], rows)]


def rewrites(parts: Parts) -> list[str]:
    rows = []
    for part, result in good(parts, "rewrites").items():
        times = result["ms"] if "gradient" in result["ms"] else {"": result["ms"]}
        for order, ms in times.items():
            cells = [f"{ms[form]:.3g}" for form in ("plain", "default", "cpu")]
            rows.append([f"{part}{', ' * bool(order)}{order}", *cells])
    if not rows:
        return []
    return [
        "Milliseconds of convolutions beside resamplings: the layers as JAX differentiates them, jaxgan's derivatives,"
        " and those in the form that a CPU takes:",
        table(["What", "Plain", "jaxgan", "CPU form"], rows),
    ]


def stylegan2(parts: Parts) -> list[str]:
    results = good(parts, "stylegan2")
    if not results:
        return []
    texts = []
    for part, result in results.items():
        rate = result["images_per_second"]
        text = f"{rate['jaxgan']:,.0f} images/s, {percent(result['utilisation'])} of the peak rate"
        if "torch" in rate:
            text += f", beside {rate['torch']:,.0f} of PyTorch's, {part}"
        texts.append(text)
    first = next(iter(results.values()))
    size = f"{first['resolution']}x{first['resolution']}, batch {first['batch']}, {first['dtype']}"
    return [f"A round of StyleGAN2 at {size}: {'; '.join(texts)}."]


def features(parts: Parts) -> list[str]:
    texts = []
    for part, result in good(parts, "features").items():
        if "pictures_per_second" not in result:
            texts.append(f"{part} takes {result['jaxgan']['seconds']:.2f} s")
            continue
        rates = (f"{rate:,.0f} ({who})" for who, rate in result["pictures_per_second"].items())
        texts.append(f"{part} pixels {', '.join(rates)}")
    return [f"Pictures per second through feature networks: {'; '.join(texts)}."] if texts else []


def training(parts: Parts) -> list[str]:
    texts = []
    for part, result in good(parts, "training").items():
        last = result["curve"][-1]
        (name,) = (key for key in last if key.startswith("fd_"))
        texts.append(
            f"`{part}` on JPEGs of CIFAR-10, {result['seconds'] / 60:.1f} minutes, {result['steps']:,} rounds:"
            f" {number(result['images_per_second'])} images/s; `{name}` (no FID) "
            + ", ".join(
                f"{point[name]:.2f} at {point['kimg']:,.0f} kimg" for point in result["curve"]
            )
            + "."
        )
    return texts


SECTIONS = (
    rates, configs, trajectory, resume, speed, rewrites, stylegan2, features, training,
)  # fmt: skip


def good(parts: Parts, step: str) -> dict[str, dict]:
    """{part: its result} of the parts of a step that ended well."""
    of = parts.get(step, {})
    return {part: line["result"] for part, line in of.items() if line["status"] == "ok"}


def round_speed(files: list[Path]) -> str:
    """The block of rounds beside PyTorch: a table for each machine."""
    return "\n\n".join(rounds_text(json.loads(path.read_text())) for path in sorted(files))


def rounds_text(result: dict) -> str:
    of = result["machine"]
    head = (
        f"**{of['device']}, {of['cores']} cores** (Python {of['python']}, jax {of['jax']}, torch {of['torch']};"
        f" {of['time'][:10]}), batches of {of['batch']}, medians of {of['rounds']} rounds. A matrix product runs at"
        f" {of['peak_gflop_per_second']:.0f} GFLOP/s."
    )
    rows = []
    for model, found in result["models"].items():
        for name, numbers in found["contestants"].items():
            ratio = found["contestants"]["jaxgan"]["ms"] / numbers["ms"]
            rows.append(
                [
                    f"`{model}`",
                    name,
                    f"{numbers['images_per_second']:,.1f}",
                    f"{ratio:.2f}",
                    f"{numbers['gflop']:.3g}" if "gflop" in numbers else "",
                    percent(numbers.get("utilisation")),
                    number(numbers["peak_mib"]),
                ]
            )
    heads = [
        "Model",
        "",
        "Images/s",
        "jaxgan's time, in this one's",
        "GFLOP a round",
        "Of the rate",
        "MiB",
    ]
    return f"{head}\n\n{table(heads, rows)}"


BLOCKS = {"on_device": (on_device, "*.jsonl"), "round_speed": (round_speed, "*.json")}


def table(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.0f} %"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = made = PAGE.read_text()
    for name, (block, files) in BLOCKS.items():
        made = put(name, block(list(RESULTS.glob(f"{name}_{files}"))), made)
    if check:
        return int(made != text)
    PAGE.write_text(made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
