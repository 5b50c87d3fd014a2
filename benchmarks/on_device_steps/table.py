"""The steps of `benchmarks/on_device.py`, in order of worth, and the seconds that each may take."""

from __future__ import annotations

from on_device_steps.runner import Step

STEPS = (
    Step("device", "on_device_steps.device", 30),
    Step("configs", "on_device_steps.configs", 400, part_seconds=120),
    Step("trajectory", "on_device_steps.trajectory", 45),
    Step("resume", "on_device_steps.resume", 90),
    Step("speed_sngan", "on_device_steps.speed", 150, options={"model": "sngan"}),
    Step("speed_wgan_gp", "on_device_steps.speed", 150, options={"model": "wgan_gp"}),
    Step("rewrites", "on_device_steps.rewrites", 150),
    Step("stylegan2", "on_device_steps.stylegan2", 300),
    Step("features", "on_device_steps.features", 120),
    # For the minutes left.
    Step("training", "on_device_steps.training", 3600, least=75),
)
NAMES = tuple(step.name for step in STEPS)


def chosen(names: str) -> tuple[Step, ...]:
    """The steps of a list such as "configs,resume", in their own order; all of them if it is empty."""
    chosen = [name for name in names.split(",") if name]
    if unknown := [name for name in chosen if name not in NAMES]:
        raise SystemExit(f"there is no step '{unknown[0]}'; there are {', '.join(NAMES)}.")
    return tuple(step for step in STEPS if not chosen or step.name in chosen)
