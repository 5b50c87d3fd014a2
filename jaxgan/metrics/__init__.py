"""Scores of generated examples against real ones. The arithmetic is pure; feature extractors are plugins.

The functions that share a name with their module are imported from it:
`from jaxgan.metrics.evaluate import evaluate`, and likewise `inception_score`, `linear_separability`,
`ms_ssim`, `perceptual_diversity`, `perceptual_path_length` and `precision_recall`.
"""

from jaxgan.metrics.bootstrap import Interval as Interval
from jaxgan.metrics.bootstrap import confidence_interval as confidence_interval
from jaxgan.metrics.bootstrap import frechet_interval as frechet_interval
from jaxgan.metrics.classification_accuracy import ClassificationAccuracy as ClassificationAccuracy
from jaxgan.metrics.classification_accuracy import linear_probe_accuracy as linear_probe_accuracy
from jaxgan.metrics.classwise import ClasswiseDistance as ClasswiseDistance
from jaxgan.metrics.classwise import classwise_frechet as classwise_frechet
from jaxgan.metrics.features import Extractor as Extractor
from jaxgan.metrics.features import extractor_for as extractor_for
from jaxgan.metrics.frechet import frechet_distance as frechet_distance
from jaxgan.metrics.frechet import frechet_distance_to as frechet_distance_to
from jaxgan.metrics.frechet import frechet_notes as frechet_notes
from jaxgan.metrics.frechet_extrapolated import ExtrapolatedDistance as ExtrapolatedDistance
from jaxgan.metrics.frechet_extrapolated import extrapolated_frechet as extrapolated_frechet
from jaxgan.metrics.images import to_uint8 as to_uint8
from jaxgan.metrics.inception_score import InceptionScore as InceptionScore
from jaxgan.metrics.kid import KernelDistance as KernelDistance
from jaxgan.metrics.kid import kernel_distance as kernel_distance
from jaxgan.metrics.kid import kernel_distance_of_all as kernel_distance_of_all
from jaxgan.metrics.linear_separability import Separability as Separability
from jaxgan.metrics.moments import Moments as Moments
from jaxgan.metrics.ms_ssim import ms_ssim_diversity as ms_ssim_diversity
from jaxgan.metrics.ms_ssim import ssim as ssim
from jaxgan.metrics.pairs import PairMean as PairMean
from jaxgan.metrics.pairs import mean_over_pairs as mean_over_pairs
from jaxgan.metrics.perceptual_path_length import PathLength as PathLength
from jaxgan.metrics.precision_recall import DensityCoverage as DensityCoverage
from jaxgan.metrics.precision_recall import PrecisionRecall as PrecisionRecall
from jaxgan.metrics.precision_recall import density_coverage as density_coverage
from jaxgan.metrics.segmentation import SegmentationScores as SegmentationScores
from jaxgan.metrics.segmentation import segmentation_scores as segmentation_scores
from jaxgan.metrics.single_image import FeatureMaps as FeatureMaps
from jaxgan.metrics.single_image import inception_maps as inception_maps
from jaxgan.metrics.single_image import random_maps as random_maps
from jaxgan.metrics.single_image import single_image_distance as single_image_distance
from jaxgan.metrics.single_image import single_image_frechet as single_image_frechet
from jaxgan.metrics.sliced import PatchDistance as PatchDistance
from jaxgan.metrics.sliced import patch_sliced_wasserstein as patch_sliced_wasserstein
