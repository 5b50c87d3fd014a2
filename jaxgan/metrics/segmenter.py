"""A segmenter from a file, as an extractor: it recovers the label maps of pictures.

The file holds a function that JAX has exported, and with it the weights. Nothing in it is executed as Python code:

    shape = jax.ShapeDtypeStruct((*jax.export.symbolic_shape("b"), 256, 256, 3), jnp.uint8)
    exported = jax.export.export(jax.jit(segment), platforms=["cpu", "cuda", "tpu"])(shape)
    Path("segmenter.jax").write_bytes(exported.serialize())

The function takes uint8 pictures [b, H, W, C] of the size of the data, for any b, and returns logits [b, H, W, labels].
"""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.options import OptionError

NAME = "segmenter"
LABEL_MAP = "label_map"  # what a segmenter finds, int32 [B, H, W]
AGREEMENT = "label_agreement"  # `counts_of_labels` of that and the given map, float32 [B, 3 labels]

_HOW = "export it as jaxgan.metrics.segmenter describes"


class Segmenter:
    """The function in a file, see the module's docstring.

    Attributes:
      labels: their number.
      name, outputs, checksum, resize: as of every extractor.

    Raises:
      ValueError: the file holds no such function.
    """

    name, resize, variables = NAME, "none", ()
    dtype = np.dtype(np.uint8)

    def __init__(self, file: str | Path):
        data = Path(file).expanduser().read_bytes()
        try:
            self._exported = jax.export.deserialize(bytearray(data))
        except Exception as error:  # of the reader of the format, which has no class of its own
            raise ValueError(f"{file} is no function that JAX has exported; {_HOW}") from error
        self.checksum = hashlib.sha256(data).hexdigest()
        taken, given = self._exported.in_avals, self._exported.out_avals
        pictures = len(taken) == 1 and taken[0].dtype == np.uint8 and len(taken[0].shape) == 4
        if not pictures or jax.export.is_symbolic_dim(taken[0].shape[0]) is False:
            raise ValueError(
                f"the function in {file} takes {_listed(taken)}, not uint8[b,H,W,C] for any number b of pictures;"
                f" {_HOW}"
            )
        self.shape = tuple(taken[0].shape[1:])
        size = (*taken[0].shape[:1], *self.shape[:2])
        if len(given) != 1 or len(given[0].shape) != 4 or tuple(given[0].shape[:3]) != size:
            raise ValueError(
                f"the function in {file} returns {_listed(given)}, not logits [b, H, W, labels] for the pixels of"
                f" {_listed(taken)}; {_HOW}"
            )
        self.labels = given[0].shape[3]
        self.outputs = {AGREEMENT: 3 * self.labels}

    def apply(self, variables: tuple[()], batch: jax.Array) -> dict[str, jax.Array]:
        """{LABEL_MAP: int32 [B, H, W]} of uint8 pictures [B, H, W, C]; traceable."""
        del variables
        return {LABEL_MAP: jnp.argmax(self._exported.call(batch), axis=-1).astype(jnp.int32)}

    def __call__(self, batch) -> dict[str, jax.Array]:
        return self.apply((), jnp.asarray(batch))

    def check(self, shape: tuple[int, ...]) -> None:
        """Raises unless it takes pictures of this shape."""
        if tuple(shape) != self.shape:
            raise ValueError(
                f"the segmenter takes pictures {list(self.shape)}, but those of the data are {list(shape)}; export it"
                " for these"
            )


def open_segmenter(shape: tuple[int, ...], file: str | Path | None) -> Segmenter:
    """The segmenter in a file, for pictures of this shape [H, W, C]."""
    if file is None:
        raise OptionError(
            None,
            None,
            "label maps are recovered by a segmenter of your own, trained on real pictures; give its file",
            {"train.weights": "FILE"},
        )
    segmenter = Segmenter(file)
    segmenter.check(shape)
    return segmenter


def _listed(avals) -> str:
    return ", ".join(str(aval.str_short()) for aval in avals) or "nothing"
