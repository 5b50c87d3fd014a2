"""Scores of generated examples against real ones. The arithmetic is pure; features are plugins.

The functions that share a name with their module are imported from it:
`from jaxgan.metrics.evaluate import evaluate`,
`from jaxgan.metrics.precision_recall import precision_recall`.
"""

from jaxgan.metrics.features import Extractor as Extractor
from jaxgan.metrics.features import extractor_for as extractor_for
from jaxgan.metrics.frechet import frechet_distance as frechet_distance
from jaxgan.metrics.images import to_uint8 as to_uint8
from jaxgan.metrics.moments import Moments as Moments
