import copy
import json

import attrs
import numpy as np
import pytest

from nas_spaces import Block, Choice, InputError, SearchSpace, from_json, published, to_json
from nas_spaces.layers import LAYERS, Classifier, Conv, MBConv, Pool, ShuffleUnit
from nas_spaces.primitives import GraphBuilder


@pytest.mark.parametrize("name", sorted(published.SPACES))
def test_published_spaces_round_trip(name):
    space = published.load(name)
    again = from_json(to_json(space))
    assert again == space
    rows = space.sample(4, rng=np.random.default_rng(0))
    assert [again.layers(row) for row in rows] == [space.layers(row) for row in rows]


def test_inputs_widths_groups_and_masks_round_trip(cell, widths, plain):
    alive = plain.mask.copy()
    alive[1, 0] = False
    grouped = SearchSpace(
        "grouped",
        (3, 8, 8),
        [Choice("g", ((1, 2.5), "two"), group="all")],
        [
            Block("b", [Conv(4), Conv(8)], reads=("g",), shares=("out",)),
            Block("head", [Classifier(2), Classifier(2)], reads=("g",)),
        ],
    )
    for space in (cell, widths, plain.restrict(alive), grouped):
        assert from_json(to_json(space)) == space


def test_every_layer_record_round_trips():
    examples = {
        "Classifier": Classifier(7, bias=False, dropout=0.5),
        "Conv": Conv(8, 5, 2, None, None),
        "MBConv": MBConv(8, 3, 2, expand=1.5, activation="relu", residual=False),
        "Pool": Pool("average", 5, 2),
        "ShuffleUnit": ShuffleUnit(16, 3, 2, "x", 0.5),
    }
    for name, cls in LAYERS.items():
        layer = examples.get(name) or cls()
        space = SearchSpace(name, (8, 16, 16), (), [Block("only", [layer])])
        assert from_json(to_json(space)).blocks[0].layers == (layer,)


@attrs.frozen
class Own:
    """A layer that nas_spaces does not know."""

    out: int

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("conv", "input", self.out, kernel=1)
        return build.graph


def test_layers_of_ones_own_are_named_by_the_reader():
    space = SearchSpace("own", (3, 8, 8), (), [Block("only", [Own(4)])])
    text = to_json(space)
    assert from_json(text, layers={**LAYERS, "Own": Own}) == space
    with pytest.raises(InputError, match="layer 'Own' is unknown: valid: Classifier"):
        from_json(text)


@pytest.mark.parametrize("text", ["", "{", "null", "3", "[]", "{}", '{"format": 2}', "{]"])
def test_text_that_is_no_space_is_refused(text):
    with pytest.raises(InputError, match=r"this (text is no JSON|JSON is no search space)"):
        from_json(text)


def at(record, path, value):
    changed = copy.deepcopy(record)
    *folders, last = path
    place = changed
    for key in folders:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return json.dumps(changed)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), None),
        (("blocks",), None),
        (("blocks",), 5),
        (("blocks",), []),
        (("blocks", 0), "stem"),
        (("blocks", 0, "name"), None),
        (("blocks", 0, "layers"), None),
        (("blocks", 0, "layers"), 5),
        (("blocks", 0, "layers", 0), 5),
        (("blocks", 0, "layers", 0, "layer"), "Konv"),
        (("blocks", 0, "layers", 0, "layer"), ["Conv"]),
        (("blocks", 0, "layers", 0, "layer"), None),
        (("blocks", 0, "layers", 0, "out"), None),
        (("blocks", 0, "layers", 0, "out"), "eight"),
        (("blocks", 0, "layers", 0, "kernel"), 4),
        (("blocks", 0, "layers", 0, "colour"), "red"),
        (("blocks", 0, "colour"), "red"),
        (("blocks", 1, "reads"), ["nothing"]),
        (("choices",), {}),
        (("choices", 0, "options"), []),
        (("choices", 0, "options"), None),
        (("choices", 0, "colour"), "red"),
        (("input_shape",), [1, 8]),
        (("input_shape",), "1,8,8"),
        (("colour",), "red"),
        (("alive",), [[True]]),
        (("alive",), 5),
    ],
)
def test_malformed_spaces_are_input_errors(path, value):
    record = json.loads(to_json(published.load("digits-mobile")))
    with pytest.raises(InputError):
        from_json(at(record, path, value))
