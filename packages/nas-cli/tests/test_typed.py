import pytest
from attrs import frozen

from nas_cli.typed import Quantity, check_keys, structure
from nas_spaces import InputError


@frozen(kw_only=True)
class Inner:
    size: int
    share: float = 0.5


@frozen(kw_only=True)
class Outer:
    name: str
    inner: Inner
    other: Inner | None = None


def test_values_become_records():
    values = {"name": "a", "inner": {"size": 3}, "other": {"size": 4, "share": 1}}
    check_keys(values, Outer)
    record = structure(values, Outer)
    assert record == Outer(name="a", inner=Inner(size=3), other=Inner(size=4, share=1.0))
    assert type(record.other.share) is float


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"inner": {"sise": 3}}, "setting 'inner.sise' is unknown: did you mean 'inner.size'?"),
        ({"size": 3}, "setting 'size' is unknown: did you mean 'inner.size'?"),
        ({"inner": 3}, "setting 'inner' is a table, received 3; set one of its keys, like"),
        ({"name": {"a": 1}}, "setting 'name' is no table"),
    ],
)
def test_keys_that_a_record_lacks(values, says):
    with pytest.raises(InputError, match=says.replace("?", r"\?")):
        check_keys(values, Outer)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        (True, "inner.size must be a whole number; received True"),
        (3.0, "inner.size must be a whole number; received 3.0"),
        ("3", "inner.size must be a whole number; received '3'"),
    ],
)
def test_nothing_is_silently_another_type(size, says):
    with pytest.raises(InputError, match=says):
        structure({"name": "a", "inner": {"size": size}}, Outer)


@frozen(kw_only=True)
class Aimed:
    target: Quantity | None = None


@pytest.mark.parametrize(
    ("given", "kept"), [(None, None), ("60%", "60%"), (600_000, "600000"), (1.5e6, "1500000.0")]
)
def test_a_quantity_is_a_number_or_a_text(given, kept):
    assert structure({"target": given}, Aimed).target == kept


def test_a_quantity_is_nothing_else():
    with pytest.raises(InputError, match=r"target must be a number, or a text .* received True"):
        structure({"target": True}, Aimed)
