import base64
import json

import numpy as np
import pytest

from nas_spaces.jsonable import from_jsonable, to_jsonable


def test_a_state_survives_json():
    rng = np.random.Generator(np.random.MT19937(5))
    state = {
        "array": np.array([[1.5, 2.5]], dtype=np.float32),
        "empty": np.zeros((0, 4), dtype=bool),
        "nested": [{"a": np.arange(3)}, None, True, "ä", 0.1],
        "rng": rng.bit_generator.state,
    }
    read = from_jsonable(json.loads(json.dumps(to_jsonable(state, "state"))))
    for name in ("array", "empty"):
        np.testing.assert_array_equal(read[name], state[name], strict=True)
    np.testing.assert_array_equal(read["nested"][0]["a"], np.arange(3), strict=True)
    assert read["nested"][1:] == [None, True, "ä", 0.1]
    again = np.random.Generator(np.random.MT19937())
    again.bit_generator.state = read["rng"]
    np.testing.assert_array_equal(again.random(5), rng.random(5))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool", "uint8", ">f4"])
def test_large_arrays_are_bytes(dtype):
    values = np.random.default_rng(0).normal(size=(13, 17)).astype(dtype)
    values[0, 0] = np.nan if values.dtype.kind == "f" else 0
    written = to_jsonable({"a": values[:, ::2]}, "state")
    assert set(written["a"]) == {"dtype", "shape", "base64"}
    read = from_jsonable(json.loads(json.dumps(written)))["a"]
    np.testing.assert_array_equal(read, values[:, ::2], strict=True)
    read[0, 0] = 1  # it is memory of its own
    # Little-endian, whatever the machine.
    first = np.frombuffer(
        base64.b64decode(written["a"]["base64"]), np.dtype(dtype).newbyteorder("<")
    )
    np.testing.assert_array_equal(first[:9], values[0, ::2])


def test_scalars_and_tuples_become_numbers_and_lists():
    value = (np.int64(3), np.float64(0.1), np.bool_(True))
    assert to_jsonable(value, "state") == [3, 0.1, True]
    assert [type(x) for x in to_jsonable(value, "state")] == [int, float, bool]


def test_anything_else_is_refused_with_its_place():
    with pytest.raises(TypeError, match=r"state\['seen'\]\[1\] is a set; .* numpy arrays"):
        to_jsonable({"seen": [0, {1, 2}]}, "state")
