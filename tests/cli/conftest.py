"""The model of `transforming`, as if it were one of jaxgan's."""

import pytest
import transforming

from jaxgan import models


@pytest.fixture(scope="module")
def transforming_config(tmp_path_factory):
    """Path of a config of that model on digits."""
    path = tmp_path_factory.mktemp("config") / "transforming.py"
    path.write_text(transforming.CONFIG)
    load = models.load
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            models, "load", lambda name: transforming.MODULE if name == path.stem else load(name)
        )
        yield str(path)
