"""Published weight files: download, verification, cache and readers.

    tensors, sha256 = weights.load("vgg16")

downloads the file from its publisher on first use, and reads it from the user's cache afterwards. No
code in a file is ever executed. Parsers in this package read PyTorch's pickles, TorchScript archives
and npz files, without PyTorch. The `safetensors` package reads safetensors files. Other files raise
an error.
"""

from jaxgan.weights.published import (
    PUBLISHED,
    Published,
)
from jaxgan.weights.read import (
    UNPUBLISHED,
    kind_of_file,
    load_file,
)
from jaxgan.weights.store import (
    cache_folder,
    load,
)

__all__ = [
    "PUBLISHED",
    "UNPUBLISHED",
    "Published",
    "cache_folder",
    "kind_of_file",
    "load",
    "load_file",
]
