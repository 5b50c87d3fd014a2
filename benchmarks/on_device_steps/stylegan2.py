"""A round of StyleGAN2 at 256x256, in bfloat16, beside PyTorch's (`stylegan2_speed.py`), turn by turn.

"eager" and "compiled" are about PyTorch. A round costs the critic's and the generator's turn and the average of the
weights, a sixteenth of R1's turn and a quarter of path length's.
"""

from __future__ import annotations

import time

import chips

from on_device_steps import playing, timing

RESOLUTION, BATCH, DTYPE = 256, 32, "bfloat16"
TINY = {"style_dim": 8, "latent_dim": 8, "mapping_layers": 1, "channel_max": 4}


def parts(task) -> list[str]:
    return ["eager", "compiled"] if task.facts["platform"] == "gpu" else ["eager"]


def run(part: str, task) -> dict:
    import stylegan2_speed as speed

    resolution, batch, dtype = (8, 2, "float32") if task.tiny else (RESOLUTION, BATCH, DTYPE)
    options = speed.options_of(resolution, 0, batch, dtype, **(TINY if task.tiny else {}))
    image = speed.pictures(resolution, batch)
    engine = speed.jaxgan_engine(options, resolution)
    before = timing.jax_memory()
    start = time.perf_counter()
    costs = playing.compile_all(playing.lower(engine, 0, {"image": image}))
    seconds = time.perf_counter() - start
    turns, parameters = {}, {}
    turns["jaxgan"], parameters["jaxgan"] = speed.jaxgan_turns(engine, options, image)
    found = {"resolution": resolution, "batch": batch, "dtype": dtype, "compile_all_s": seconds}
    twin, note = timing.peer(lambda: torch_turns(options, resolution, image, part, task))
    if twin is not None:
        turns["torch"], parameters["torch"] = twin
    if len(set(parameters.values())) > 1:
        raise ValueError(f"the contestants differ in parameters: {parameters}")
    _warm_up(turns["jaxgan"])
    times = speed.measure(turns, 1 if task.tiny else 9, options)
    rounds = times["round"]
    gflop = sum(of["gflop"] for of in costs.values())
    peak = timing.jax_memory()
    return {
        **found,
        "parameters": parameters["jaxgan"],
        "ms": times,
        "images_per_second": {name: 1e3 * batch / ms for name, ms in rounds.items()},
        "gflop": gflop,
        "utilisation": chips.utilisation(
            1e9 * gflop, rounds["jaxgan"] / 1e3, task.facts["device"], dtype
        ),
        "compile_s": {turn: of["compile_s"] for turn, of in costs.items()},
        "program_mib": max(of["program_mib"] for of in costs.values()),
        "peak_mib": timing.mib(peak) if peak is not None and peak > before else None,
        "torch_peak_mib": timing.torch_memory() if "torch" in turns else None,
        **({"torch_note": note} if note else {}),
    }


def torch_turns(options, resolution: int, image, part: str, task):
    """As `stylegan2_speed.torch_turns`, warmed up."""
    import stylegan2_speed as speed

    device = "cuda" if task.facts["platform"] == "gpu" else "cpu"
    turns, parameters = speed.torch_turns(options, resolution, image, device, part == "compiled")
    _warm_up(turns)
    return turns, parameters


def _warm_up(turns: dict) -> None:
    for play in turns.values():
        play(), play()
