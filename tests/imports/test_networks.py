"""Which files are the generator's and which the critic's."""

import numpy as np
import pytest

from jaxgan.imports.tensors import Tensors, networks


def split(kinds):
    files = [Tensors({kind: np.zeros(1)}, f"{kind}{i}.pth") for i, kind in enumerate(kinds)]
    return networks(files, lambda names: "g" in names, lambda names: "c" in names, "one of each")


@pytest.mark.parametrize("kinds", ["g", "gc", "cg"])
def test_files_are_told_apart_in_any_order(kinds):
    generator, critic = split(kinds)
    assert generator.names == ["g"]
    assert (critic.names if critic else []) == (["c"] if "c" in kinds else [])


@pytest.mark.parametrize("kinds", ["", "c", "gg", "gcc", "go", "gco"])
def test_other_files_are_refused_and_none_is_left_out(kinds):
    with pytest.raises(ValueError, match=r"^one of each$"):
        split(kinds)
