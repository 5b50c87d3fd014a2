"""A round of `sngan` or `wgan_gp` at 32x32, paper widths: images per second and utilisation, beside PyTorch's.

The parts are a dtype and a batch; in those with "compiled" the twin runs under `torch.compile`. jaxgan and its twin
(`torch_twin.py`: channels last, fused Adam, autocast to bfloat16) play alternately in one process. PyTorch may use TF32
for float32, as XLA does by default. A round is five critic steps and one of the generator, at twice the batch; images
are real ones, five batches a round.
"""

from __future__ import annotations

import functools
import gc

import chips

from on_device_steps import timing

SECONDS = 3.0  # of timing, for each part
# From small to large: the peak memory of a process only rises.
DTYPES = ("bfloat16", "float32")
CASES = tuple((dtype, batch) for batch in (64, 256) for dtype in DTYPES)
TINY_CASE, TINY_WIDTH = ("float32", 2), 8


def parts(task) -> list[str]:
    plain = [f"{dtype} {batch}" for dtype, batch in ((TINY_CASE,) if task.tiny else CASES)]
    cuda = task.facts["platform"] == "gpu"
    return plain + [f"{part} compiled" for part in plain] * cuda


def run(part: str, task) -> dict:
    import round_speed

    dtype, batch, *compiled = part.split()
    batch, model = int(batch), task.options["model"]
    engine, costs = engine_of(model, batch, dtype, task.tiny)
    before = timing.jax_memory()
    play, parameters = round_speed.jaxgan_player(engine)
    players = {"jaxgan": play}
    twin, note = timing.peer(lambda: torch_player(model, batch, dtype, bool(compiled), task))
    if twin is not None:
        players["torch"], number = twin
        if number != parameters:
            raise ValueError(f"the contestants differ in parameters: {parameters}, {number}")
    times = timing.alternate(players, 0.05 if task.tiny else SECONDS)
    found = {
        "parameters": parameters,
        "batch": batch,
        "dtype": dtype,
        "jaxgan": {
            **_rates(times["jaxgan"], batch),
            **_costs(costs, times["jaxgan"]["ms"], task.facts["device"], dtype),
            **_jax_memory(costs, before),
        },
    }
    if "torch" in players:
        found["torch"] = {**_rates(times["torch"], batch), "peak_mib": timing.torch_memory()}
        found["time_ratio"] = times["jaxgan"]["ms"] / times["torch"]["ms"]
    if note:
        found["torch_note"] = note
    del players, play, twin
    gc.collect()
    return found


@functools.cache
def engine_of(model: str, batch: int, dtype: str, tiny: bool) -> tuple:
    """(engine, {turn: see `playing.compile_all`}), its programs compiled."""
    import round_speed

    from on_device_steps import playing

    width = dict.fromkeys(("generator_width", "critic_width"), TINY_WIDTH) if tiny else {}
    engine = round_speed.jaxgan_engine(model, batch, dtype=dtype, **width)
    example = next(round_speed.batches(batch))
    return engine, playing.compile_all(playing.lower(engine, 0, example))


def torch_player(model: str, batch: int, dtype: str, compiled: bool, task):
    import round_speed
    import torch

    device = "cuda" if task.facts["platform"] == "gpu" else "cpu"
    if device == "cuda":
        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU here, although JAX does.")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        torch.cuda.reset_peak_memory_stats()
    width = TINY_WIDTH if task.tiny else 0
    play, parameters = round_speed.torch_player(
        model, batch, compiled=compiled, device=device, dtype=dtype, width=width
    )
    play(1)  # if it fails, then here
    return play, parameters


def _rates(times: dict[str, float], batch: int) -> dict[str, float]:
    return {**times, "images_per_second": 5 * batch / times["ms"] * 1e3}


def _costs(costs: dict, ms: float, device: str, dtype: str) -> dict:
    """Operations of a round, and the share of the peak rate that is used."""
    gflop = sum(of["gflop"] for of in costs.values())
    return {
        "gflop": gflop,
        "utilisation": chips.utilisation(1e9 * gflop, ms / 1e3, device, dtype),
        "compile_s": {turn: of["compile_s"] for turn, of in costs.items()},
    }


def _jax_memory(costs: dict, before: int | None) -> dict:
    """What the largest program needs, and the process's peak where it rose: only then is it this part's own."""
    peak = timing.jax_memory()
    own = peak is not None and peak > before
    return {
        "program_mib": max(of["program_mib"] for of in costs.values()),
        "peak_mib": timing.mib(peak) if own else None,
    }
