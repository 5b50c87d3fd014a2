"""What accelerators can do: peaks by `device_kind`, from their makers' data sheets, and GPUs described for XLA."""

from __future__ import annotations

import math
from typing import NamedTuple


class Chip(NamedTuple):
    """One device.

    Attributes:
      flops: bfloat16 operations a second, without sparsity.
      bandwidth: bytes a second to and from its memory.
      memory: bytes of it.
      clock: cycles a second in which the TPU compiler estimates; NaN for others.
    """

    flops: float
    bandwidth: float
    memory: float
    clock: float = math.nan


CHIPS = {
    "TPU v4": Chip(275e12, 1228e9, 32 * 2**30, 1.05e9),
    "TPU v5 lite": Chip(197e12, 819e9, 16 * 2**30, 1.5e9),
    "TPU v5": Chip(459e12, 2765e9, 95 * 2**30, 1.75e9),
    "TPU v6 lite": Chip(918e12, 1640e9, 32 * 2**30, 1.75e9),
    "TPU7x": Chip(1153e12, 3690e9, 96 * 2**30, 1.9e9),
    "NVIDIA H100 80GB HBM3": Chip(989e12, 3352e9, 79 * 2**30),
    "NVIDIA H200": Chip(989e12, 4800e9, 140 * 2**30),
    "NVIDIA A100-SXM4-80GB": Chip(312e12, 2039e9, 79 * 2**30),
}
UNKNOWN = Chip(math.nan, math.nan, math.inf)

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
