import pytest

from jaxgan.metrics.compare import Comparison, compare

_PROTOCOL = {"name": "fid50k_train", "num_fake": 50_000, "resize": "tf1", "jaxgan": "0.1.0"}
_RESULT = {"fid": 10.0, "protocol": _PROTOCOL, "measured": {"step": 3}, "notes": []}


def test_puts_shared_scores_side_by_side():
    other = _RESULT | {"fid": 7.5, "is": 9.0, "measured": {"step": 9}, "notes": ["a note"]}
    assert compare(_RESULT, other) == [Comparison("fid", 10.0, 7.5, -2.5)]


def test_the_version_alone_is_no_difference():
    other = _RESULT | {"protocol": _PROTOCOL | {"jaxgan": "0.2.0"}}
    assert compare(_RESULT, other)[0].difference == 0


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            _RESULT | {"protocol": _PROTOCOL | {"num_fake": 10_000, "resize": "clean"}},
            "the protocols differ, .*: num_fake is 50000 in A and 10000 in B; resize is 'tf1' in A and 'cl",
        ),
        (_RESULT | {"protocol": _PROTOCOL | {"ema": True}}, "ema is None in A and True in B"),
        ({"fid": 3.0}, "B is not a result of jaxgan evaluate: it has no protocol"),
        ([1, 2], "B is not a result of jaxgan evaluate"),
        ({"kid": 0.1, "protocol": _PROTOCOL}, "A and B have no score in common"),
    ],
)
def test_refuses(other, message):
    with pytest.raises(ValueError, match=message):
        compare(_RESULT, other)
