"""What accelerators can do, by JAX's name for them, from their makers' data sheets; and a GPU as XLA knows it."""

from __future__ import annotations

import math
from typing import NamedTuple


class Chip(NamedTuple):
    """One JAX device, which is half a chip of a TPU v2 or v3.

    Attributes:
      bfloat16: operations a second, without sparsity.
      float32: of what XLA makes of float32 products and convolutions by default: TF32 on NVIDIA's devices, one pass of
        bfloat16 on TPUs.
      bandwidth: bytes a second to and from its memory.
      memory: bytes of it.
      clock: cycles a second in which the TPU compiler estimates; NaN for others.
    """

    bfloat16: float
    float32: float
    bandwidth: float
    memory: float
    clock: float = math.nan


GIB = 2**30
CHIPS = {
    "NVIDIA A100": Chip(312e12, 156e12, 1555e9, 39.5 * GIB),
    "NVIDIA A100-SXM4-80GB": Chip(312e12, 156e12, 2039e9, 79 * GIB),
    "NVIDIA L4": Chip(121e12, 60.5e12, 300e9, 22 * GIB),
    "NVIDIA H100": Chip(989.4e12, 494.7e12, 3352e9, 79 * GIB),
    "NVIDIA H100 PCIe": Chip(756e12, 378e12, 2039e9, 79 * GIB),
    "NVIDIA H100 NVL": Chip(835e12, 417.5e12, 3938e9, 93 * GIB),
    "NVIDIA H200": Chip(989.4e12, 494.7e12, 4800e9, 140 * GIB),
    "TPU v2": Chip(22.5e12, 22.5e12, 350e9, 8 * GIB),
    "TPU v3": Chip(61.5e12, 61.5e12, 450e9, 16 * GIB),
    "TPU v4": Chip(275e12, 275e12, 1228e9, 32 * GIB, 1.05e9),
    "TPU v5 lite": Chip(197e12, 197e12, 819e9, 16 * GIB, 1.5e9),
    "TPU v5": Chip(459e12, 459e12, 2765e9, 95 * GIB, 1.75e9),
    "TPU v5p": Chip(459e12, 459e12, 2765e9, 95 * GIB, 1.75e9),
    "TPU v6 lite": Chip(918e12, 918e12, 1640e9, 32 * GIB, 1.75e9),
    "TPU7x": Chip(1153e12, 1153e12, 3690e9, 96 * GIB, 1.9e9),
}
UNKNOWN = Chip(math.nan, math.nan, math.nan, math.inf)


def find(device: str) -> Chip:
    """The chip of a `device_kind`, which may go on after the name in the table; `UNKNOWN` where there is none.

    >>> find("NVIDIA H100 80GB HBM3").bfloat16, find("NVIDIA A100-SXM4-40GB").float32
    (989400000000000.0, 156000000000000.0)
    """
    known = [
        name for name in CHIPS if device == name or device.startswith((f"{name} ", f"{name}-"))
    ]
    return CHIPS[max(known, key=len)] if known else UNKNOWN


def utilisation(flops: float, seconds: float, device: str, dtype: str) -> float | None:
    """Share of the device's peak rate in bfloat16 or float32: `flops` in `seconds`; None where that is not known."""
    peak = getattr(find(device), dtype)
    return None if math.isnan(peak) else flops / seconds / peak


# For XLA's GPU compiler, which needs to know the device that it compiles for; from XLA's own tests (its pull request
# 25919).
H100 = """
gpu_device_info {
  threads_per_block_limit: 1024  threads_per_warp: 32  shared_memory_per_block: 49152
  shared_memory_per_core: 233472  threads_per_core_limit: 2048  core_count: 132  fpus_per_core: 128
  block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000  l2_cache_size: 52428800  clock_rate_ghz: 1.98
  device_memory_size: 84929347584  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 8 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
