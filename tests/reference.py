"""Other people's packages that tests compare with."""

import functools


@functools.cache
def torchvision_ready() -> None:
    """Lets torchvision be imported beside the CPU build of PyTorch, for which it has no compiled operators.

    It describes two of them to PyTorch while it is imported, and fails where they are not defined. Beside a CUDA
    build it has them.
    """
    import torch

    if torch.version.cuda is not None:
        return
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, name):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torchvision_ready.library = library  # definitions last as long as it does
