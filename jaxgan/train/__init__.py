"""Training: the loop, checkpoints, meshes, reports, sampling from a trained run."""

from jaxgan.train import batch_statistics, loop, report, workdir
from jaxgan.train.checkpoint import Checkpoints
from jaxgan.train.evaluation import Evaluator, make_evaluator, read_evaluations
from jaxgan.train.loop import Diverged, Options, Result, make_engine, train
from jaxgan.train.mesh import make_mesh, state_sharding
from jaxgan.train.report import plot_metrics, read_metrics, save_grid
from jaxgan.train.sample import iterate_samples, sample

__all__ = [
    "Checkpoints",
    "Diverged",
    "Evaluator",
    "Options",
    "Result",
    "batch_statistics",
    "iterate_samples",
    "loop",
    "make_engine",
    "make_evaluator",
    "make_mesh",
    "plot_metrics",
    "read_evaluations",
    "read_metrics",
    "report",
    "sample",
    "save_grid",
    "state_sharding",
    "train",
    "workdir",
]
