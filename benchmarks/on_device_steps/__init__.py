"""The steps of `benchmarks/on_device.py`: one module each, and what runs them.

A step's module has `parts(task)`, the names of what it measures, and `run(part, task)`, which measures one of them and
returns a dict of plain numbers and texts. It may raise `Skipped`. `task` is a `task.Task`.
"""


class Skipped(Exception):
    """A part cannot be measured here, for the reason that the message gives."""
