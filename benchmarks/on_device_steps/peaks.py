"""Peak arithmetic rates of accelerators, from their makers' data sheets."""

from __future__ import annotations

# Dense, in TFLOP/s, of one JAX device: (bfloat16, float32). float32 stands for what XLA makes of float32 products and
# convolutions by default: TF32 on NVIDIA's devices, one pass of bfloat16 on TPUs. A TPU v2 or v3 has two devices.
PEAKS = {
    "NVIDIA A100": (312.0, 156.0),
    "NVIDIA L4": (121.0, 60.5),
    "NVIDIA H100": (989.4, 494.7),
    "NVIDIA H100 PCIe": (756.0, 378.0),
    "NVIDIA H100 NVL": (835.0, 417.5),
    "NVIDIA H200": (989.4, 494.7),
    "TPU v2": (22.5, 22.5),
    "TPU v3": (61.5, 61.5),
    "TPU v4": (275.0, 275.0),
    "TPU v5 lite": (197.0, 197.0),
    "TPU v5": (459.0, 459.0),
    "TPU v5p": (459.0, 459.0),
    "TPU v6 lite": (918.0, 918.0),
}


def peak(device: str, dtype: str) -> float | None:
    """FLOP/s of a device by the name that JAX gives it; None of one that is not in the table.

    >>> peak("NVIDIA H100 80GB HBM3", "bfloat16"), peak("NVIDIA A100-SXM4-40GB", "float32")
    (989400000000000.0, 156000000000000.0)
    >>> peak("NVIDIA L40S", "bfloat16") is None
    True
    """
    known = [
        name for name in PEAKS if device == name or device.startswith((f"{name} ", f"{name}-"))
    ]
    if not known:
        return None
    bfloat16, float32 = PEAKS[max(known, key=len)]
    return 1e12 * {"bfloat16": bfloat16, "float32": float32}[dtype]


def utilisation(flops: float, seconds: float, device: str, dtype: str) -> float | None:
    """Share of the device's peak rate: `flops` in `seconds`; None where that is not known."""
    most = peak(device, dtype)
    return None if most is None else flops / seconds / most
