"""A module that is its parameters: for games whose losses are formulas of numbers."""


class Numbers:
    """Has the `init` that a player needs, and nothing to call."""

    def __init__(self, **params):
        self.params = params

    def init(self, rngs):
        del rngs
        return {"params": self.params}
