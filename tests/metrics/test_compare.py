import pytest

from jaxgan.metrics.compare import Comparison, compare

_PROTOCOL = {"name": "fid50k_train", "num_fake": 50_000, "resize": "tf1", "jaxgan": "0.1.0"}
_RESULT = {"fid": 10.0, "protocol": _PROTOCOL, "measured": {"step": 3}, "notes": []}


def test_puts_shared_scores_side_by_side():
    other = _RESULT | {"fid": 7.5, "is": 9.0, "measured": {"step": 9}, "notes": ["a note"]}
    assert compare(_RESULT, other) == [Comparison("fid", 10.0, 7.5, -2.5)]


@pytest.mark.parametrize(
    ("direction", "values", "better"),
    [
        ("lower", (10.0, 7.5), "b"),
        ("lower", (7.5, 10.0), "a"),
        ("higher", (10.0, 7.5), "a"),
        ("higher", (7.5, 10.0), "b"),
        ("higher", (7.5, 7.5), ""),
        ("lower", (7.5, float("nan")), ""),
        ("", (10.0, 7.5), ""),
    ],
)
def test_says_which_is_better(direction, values, better):
    a, b = (_RESULT | {"fid": value, "better": {"fid": direction}} for value in values)
    assert compare(a, b)[0].better == better


def test_the_name_of_a_protocol_stands_for_its_entries():
    other = _RESULT | {"protocol": _PROTOCOL | {"name": "custom"}}
    assert compare(_RESULT, other)[0].difference == 0


def test_the_version_alone_is_no_difference():
    other = _RESULT | {"protocol": _PROTOCOL | {"jaxgan": "0.2.0"}}
    assert compare(_RESULT, other)[0].difference == 0


def test_options_of_the_samples_are_named_one_by_one():
    one, other = (
        _RESULT | {"protocol": _PROTOCOL | {"options": {"truncation": x, "standing_batches": 16}}}
        for x in (0.5, 1.0)
    )
    assert compare(one, one)[0].difference == 0
    text = r"compared: options.truncation is 0.5 in A and 1.0 in B\. Evaluate"
    with pytest.raises(ValueError, match=text):
        compare(one, other)


def stated(data, fingerprint=None):
    """A result that states its data."""
    more = {} if fingerprint is None else {"data_fingerprint": fingerprint}
    return _RESULT | {"protocol": _PROTOCOL | {"data": data} | more}


def test_data_are_known_by_their_fingerprint_and_not_by_their_path():
    assert compare(stated("folder a", "1f"), stated("folder b", "1f"))[0].difference == 0
    text = "cannot be compared: data is 'folder a' in A and other examples, 'folder a', in B. Eval"
    with pytest.raises(ValueError, match=text):
        compare(stated("folder a", "1f"), stated("folder a", "2e"))


def test_of_results_without_fingerprints_the_descriptions_must_agree():
    for one in (stated("folder a"), stated("folder a", "1f")):
        assert compare(one, stated("folder a"))[0].difference == 0
        assert compare(stated("folder a"), one)[0].difference == 0
        with pytest.raises(ValueError, match="data is 'folder a' in A and 'folder b' in B"):
            compare(one, stated("folder b"))


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
