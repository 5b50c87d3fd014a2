"""Data: one `Source` per kind of image set, one `Pipeline` that turns any of them into batches."""

from jaxgan.data.array import array_source as array_source
from jaxgan.data.encoded import BadData as BadData
from jaxgan.data.options import NAME as NAME
from jaxgan.data.options import SOURCES as SOURCES
from jaxgan.data.options import DataOptions as DataOptions
from jaxgan.data.options import Progress as Progress
from jaxgan.data.options import open_source as open_source
from jaxgan.data.options import options_of as options_of
from jaxgan.data.pipeline import Pipeline as Pipeline
from jaxgan.data.shards import write as write
from jaxgan.data.source import ArraySource as ArraySource
from jaxgan.data.source import Batch as Batch
from jaxgan.data.source import Column as Column
from jaxgan.data.source import Source as Source
from jaxgan.data.tfds import prepare as prepare
from jaxgan.data.workers import WorkerDied as WorkerDied
