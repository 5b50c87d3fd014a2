"""Any image set of TensorFlow Datasets, read from ArrayRecord files without TensorFlow."""

import contextlib
import dataclasses
import difflib
import importlib.util
import io
import logging
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from jaxgan.data import pictures
from jaxgan.data.attributes import chosen_names
from jaxgan.data.encoded import CACHE_BYTES, BadData
from jaxgan.data.options import LabelOptions, PictureOptions, Progress
from jaxgan.data.source import Batch, Source, digest, summarise
from jaxgan.options import OptionError, option
from jaxgan.spec import Field, Spec

ATTRIBUTES = "attributes"


@dataclasses.dataclass(frozen=True)
class Options(PictureOptions, LabelOptions):
    tfds_name: str = option("", "name of the set, such as cifar10 or imagenet_resized/64x64")
    data_dir: str = option("", "folder where sets are prepared; empty for the default of TFDS")
    split: str = option("train", "part of the set, in the syntax of TFDS, such as train[:90%]")
    attributes: tuple[str, ...] = option(
        (),
        "names of attributes, in this order, of a set that has true or false ones, such as celeb_a; empty for none",
        empty=True,
    )


def source(options: Options, progress: Progress) -> "TFDSSource":
    """The set `options.tfds_name`, prepared before with `prepare`."""
    if not options.tfds_name:
        raise OptionError("tfds_name", "", "it must name a set of TFDS", {"tfds_name": "cifar10"})
    builder = _builder(options.tfds_name, options.data_dir)
    if "array_record" not in _prepared_formats(builder):
        where = f" --data_dir {shlex.quote(options.data_dir)}" if options.data_dir else ""
        raise FileNotFoundError(
            f"the TFDS set {options.tfds_name} is not prepared in {builder.data_dir}: "
            f"run `jaxgan prepare {shlex.quote(options.tfds_name)}{where}` once"
        )
    return TFDSSource(builder, options)


def prepare(name: str, data_dir: str = "", **download: Any) -> Path:
    """Downloads the TFDS set `name` and writes it as ArrayRecord.

    Only this function needs TensorFlow.

    Args:
      name: such as "cifar10" or "imagenet_resized/64x64".
      data_dir: folder of the sets; empty for the default of TFDS, ~/tensorflow_datasets.
      **download: fields of `tfds.download.DownloadConfig`.

    Returns:
      The folder of the prepared set. If it is there already, nothing is done.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise ModuleNotFoundError(
            f'preparing {name} needs TensorFlow (training does not): pip install "tensorflow-cpu>=2.18"'
        )
    import tensorflow_datasets as tfds

    builder = _builder(name, data_dir)
    formats = _prepared_formats(builder)
    if formats and "array_record" not in formats:
        raise ValueError(
            f"{name} is prepared in {builder.data_dir} as {', '.join(sorted(formats))}, "
            "which cannot be read without TensorFlow: prepare it in another --data_dir, "
            "or remove that folder first"
        )
    if not formats:
        builder = _builder(name, data_dir, file_format="array_record")
        with _download(name):
            builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**download))
    return Path(builder.data_dir)


@contextlib.contextmanager
def _download(name: str) -> Iterator[None]:
    """Replaces the many lines about a host that cannot be reached, which is tried ten times, by one sentence."""
    import requests

    retries = logging.getLogger("urllib3.connectionpool")
    level = retries.level
    retries.setLevel(logging.ERROR)
    try:
        yield
    except requests.ConnectionError as error:
        host = urlsplit(str(error.request.url)).hostname if error.request else "its host"
        raise ConnectionError(
            f"{name} cannot be downloaded: {host} cannot be reached; try again with a network, or prepare {name} on a"
            " machine that has one, and copy it"
        ) from error
    finally:
        retries.setLevel(level)


class TFDSSource(Source):
    """A split of a prepared set; pictures of a set that fits into memory are decoded only once."""

    def __init__(self, builder: Any, options: Options):
        import tensorflow_datasets as tfds

        where = f"TFDS {options.tfds_name} ({options.split})"
        image, label = _keys(builder.info, where)
        # Encoded bytes: TFDS would need OpenCV to decode, and all sources decode by `pictures`.
        skip = {image: tfds.decode.SkipDecoding()}
        try:
            self._records = builder.as_data_source(options.split, decoders=skip)
        except ValueError as error:
            splits = ", ".join(builder.info.splits)
            raise OptionError(
                "split",
                options.split,
                f"the TFDS set {options.tfds_name} has no such split; it has {splits}, and parts such as"
                " train[:90%]",
            ) from error
        height, width, native = builder.info.features[image].shape
        if options.resolution:
            height = width = options.resolution
        if height is None or width is None:
            raise BadData(
                f"{where}: its pictures differ in size, and no resolution is set",
                {"resolution": 64},
            )
        channels = options.channels or (1 if native in (1, 2) else 3)
        self._image, self._label = image, label if options.labels else None
        self._resolution = options.resolution
        self._columns = _columns(builder.info, self._label, options)
        picture = Field("image", (height, width, channels))
        self.spec = Spec({"image": picture, **self._columns}, len(self._records))
        self.summary = summarise(where, self.spec, "pictures")
        # A prepared set of a given name and version never changes.
        facts = (builder.info.full_name, options.split, self.spec, self._image, self._label)
        self._fingerprint = digest([str(facts)])
        self._decoded = self._known = None
        if self.spec.size * int(np.prod(self.spec.shape)) <= CACHE_BYTES:
            self._decoded = np.empty((self.spec.size, *self.spec.shape), np.uint8)
            self._held = self._empty(self.spec.size)
            self._known = np.zeros(self.spec.size, bool)

    def fingerprint(self) -> str:
        return self._fingerprint

    def contents(self) -> list[str]:
        return [self._fingerprint]

    def gather(self, indices: np.ndarray) -> Batch:
        if self._known is None or self._decoded is None:
            images, columns = self._read(indices)
        else:
            # Two threads may decode the same picture: both write the same bytes, then mark it.
            missing = np.unique(indices[~self._known[indices]])
            if len(missing):
                self._decoded[missing], read = self._read(missing)
                for name, values in read.items():
                    self._held[name][missing] = values
                self._known[missing] = True
            images = self._decoded[indices]
            columns = {name: values[indices] for name, values in self._held.items()}
        return {"image": images, **columns}

    def _empty(self, rows: int) -> dict[str, np.ndarray]:
        """Arrays for the fields other than the picture."""
        return {name: np.zeros((rows, *f.shape), f.dtype) for name, f in self._columns.items()}

    def _read(self, indices: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        images = np.empty((len(indices), *self.spec.shape), np.uint8)
        columns = self._empty(len(indices))
        records = self._records.__getitems__([int(i) for i in indices])
        for row, record in enumerate(records):
            pixels = pictures.decode(io.BytesIO(record[self._image]), self._resolution)
            images[row] = pictures.to_channels(pixels, self.spec.shape[-1])
            if self._label:
                columns["label"][row] = record[self._label]
            if ATTRIBUTES in columns:
                names = self._columns[ATTRIBUTES].names
                columns[ATTRIBUTES][row] = [record[ATTRIBUTES][name] for name in names]
        return images, columns


def _columns(info: Any, label: str | None, options: Options) -> dict[str, Field]:
    """The fields other than the picture."""
    fields = {}
    if label:
        feature = info.features[label]
        fields["label"] = Field("label", number=feature.num_classes, names=tuple(feature.names))
    if options.attributes:
        known = _attributes(info)
        if not known:
            raise OptionError(
                "attributes",
                options.attributes,
                f"the TFDS set {options.tfds_name} has no true or false features called {ATTRIBUTES}",
                {"attributes": ()},
            )
        names = chosen_names(options.attributes, known)
        fields[ATTRIBUTES] = Field("attributes", number=len(names), names=names)
    return fields


def _attributes(info: Any) -> tuple[str, ...]:
    """The names of the true or false features that the set has under the name "attributes"."""
    found = dict(info.features.items()).get(ATTRIBUTES)
    items = getattr(found, "items", None)  # of a `FeaturesDict`; single features have none
    if items is None:
        return ()
    return tuple(name for name, feature in items() if feature.np_dtype == np.bool_)


def _builder(name: str, data_dir: str, **how: Any) -> Any:
    """The TFDS builder of `name`; its long error messages are replaced by one sentence."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=data_dir or None, **how)
    except tfds.core.DatasetNotFoundError as error:
        base = name.partition("/")[0].partition(":")[0]
        close = difflib.get_close_matches(
            base, tfds.list_builders(with_community_datasets=False), n=1
        )
        problem = "TFDS (https://www.tensorflow.org/datasets) has no such set"
        raise OptionError(
            "tfds_name", name, problem, *({"tfds_name": known} for known in close)
        ) from error
    except (ValueError, AssertionError) as error:
        reason = " ".join(str(error).rpartition('}": ')[2].partition(" Here are ")[0].split())
        raise OptionError(
            "tfds_name", name, f"TFDS cannot make that set: {reason.rstrip('.')}"
        ) from error


def _prepared_formats(builder: Any) -> set[str]:
    """The file formats in which the set is on disk."""
    if not builder.info.splits:
        return set()
    return {form.value for form in builder.info.available_file_formats()}


def _keys(info: Any, where: str) -> tuple[str, str | None]:
    """The features that hold the picture and, if there is one, its class."""
    import tensorflow_datasets as tfds

    def pick(kind: type, usual: str) -> str | None:
        names = [name for name, feature in info.features.items() if isinstance(feature, kind)]
        liked = [*(info.supervised_keys or ()), usual]
        return next((name for name in liked if name in names), names[0] if names else None)

    image = pick(tfds.features.Image, "image")
    if image is None:
        raise ValueError(
            f"{where}: is no image set; its features are {', '.join(info.features)}; choose a set with pictures"
        )
    if info.features[image].np_dtype == np.float32:
        raise ValueError(
            f"{where}: its pictures are floating-point numbers, whose white is not defined; choose a set of uint8, or"
            " convert it to a .npz file for the data source array"
        )
    return image, pick(tfds.features.ClassLabel, "label")
