"""Training: the loop, checkpoints, meshes, reports, sampling from a trained run."""

from jaxgan.train import (
    batch_statistics,
    guard,
    imported,
    loggers,
    loop,
    made,
    memory,
    report,
    resident,
    workdir,
)
from jaxgan.train.checkpoint import Checkpoints
from jaxgan.train.evaluation import Evaluator, make_evaluator, read_evaluations
from jaxgan.train.film import save_film
from jaxgan.train.guard import Diverged
from jaxgan.train.loop import Options, Result, make_engine, train
from jaxgan.train.made import make, read_label_map, read_picture, save_made
from jaxgan.train.mesh import make_mesh, state_sharding
from jaxgan.train.outputs import iterate_samples, sample, transform
from jaxgan.train.report import plot_metrics, read_metrics, save_grid

__all__ = [
    "Checkpoints",
    "Diverged",
    "Evaluator",
    "Options",
    "Result",
    "batch_statistics",
    "guard",
    "imported",
    "iterate_samples",
    "loggers",
    "loop",
    "made",
    "make",
    "make_engine",
    "make_evaluator",
    "make_mesh",
    "memory",
    "plot_metrics",
    "read_evaluations",
    "read_label_map",
    "read_metrics",
    "read_picture",
    "report",
    "resident",
    "sample",
    "save_film",
    "save_grid",
    "save_made",
    "state_sharding",
    "train",
    "transform",
    "workdir",
]
