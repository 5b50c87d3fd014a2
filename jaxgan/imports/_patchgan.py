"""The PatchGAN of junyanz/pytorch-CycleGAN-and-pix2pix, which other programs have too."""

from __future__ import annotations

from jaxgan.imports.tensors import Leaf, Tensors


def critic(file: Tensors, name: str) -> tuple[dict[str, Leaf], int, int]:
    """(variables, channels of the first convolution, number of convolutions of stride 2).

    Args:
      file: its tensors.
      name: of the `Sequential` of its layers; it has batch normalisation.
    """
    kernels = [n for n in file.names if n.startswith(f"{name}.") and len(file.shape(n)) == 4]
    layers = len(kernels) - 2
    found = file.conv("conv0", f"{name}.0")
    for i in range(1, layers + 1):
        found |= file.conv(f"conv{i}", f"{name}.{3 * i - 1}")
        found |= file.batch_norm(f"norm{i}", f"{name}.{3 * i}")
    found |= file.conv("output", f"{name}.{3 * layers + 2}")
    return found, file.shape(f"{name}.0.weight")[0], layers
