"""Whatever options a config is given, it can be traced, or it is refused in one sentence before anything is compiled.

pytest tests/test_random_configs.py                                 a few configs, always the same ones
pytest tests/test_random_configs.py --hypothesis-profile=many       500 others
pytest tests/test_random_configs.py -m slow                         a few are trained for two rounds
"""

import jax
import pytest
from hypothesis import assume, given, settings
from random_configs import assert_plays, configs, refusal, trace

from jaxgan import options
from jaxgan.cli.errors import sentence
from jaxgan.options import OptionError

MOST_CHARACTERS = 3000  # a list of all options has 2,500


@pytest.fixture(autouse=True)
def nothing_compiles(monkeypatch, request):
    """Fails the test if a program is compiled, unless it is marked slow."""

    def fail(*args, **kwargs):
        raise AssertionError("a program was compiled before the config was checked")

    if not request.node.get_closest_marker("slow"):
        monkeypatch.setattr(jax.stages.Lowered, "compile", fail)


def assert_sentence(text):
    assert text, "an error without a message"
    assert "\n" not in text
    assert text.endswith((".", ".)", "?")), text
    assert len(text) < MOST_CHARACTERS, text
    for word in ("Traceback", "object at 0x", "<class", "jaxlib", "Traced<"):
        assert word not in text, text


def assert_way_out(name, overrides, error):
    """A way out that an error advises leads on: the same error does not come again."""
    for fix in error.fixes:
        # Another model has other options, and a file to be given is not there.
        if any(key.endswith((".name", "path", "file", "weights")) for key in fix):
            continue
        changes = dict(override.split("=", 1) for override in overrides)
        changes |= {key: options.text(value) for key, value in fix.items()}
        after = refusal(name, [f"{key}={value}" for key, value in changes.items()])
        assert str(after) != str(error), fix


@given(configs())
def test_a_config_is_traced_or_refused_in_one_sentence(given):
    name, overrides = given
    error = refusal(name, overrides)
    if error is None:
        trace(name, overrides)
        return
    assert_sentence(sentence(error, "train"))
    if isinstance(error, OptionError):
        assert_way_out(name, overrides, error)


@pytest.mark.slow
@settings(max_examples=5)
@given(configs())
def test_a_config_that_is_not_refused_trains(given):
    assume(refusal(*given) is None)  # an error if all examples are refused
    assert_plays(*given)
