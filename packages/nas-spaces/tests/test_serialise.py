import copy
import json
from pathlib import Path
from typing import get_args

import attrs
import numpy as np
import pytest

from nas_spaces import Block, Choice, InputError, SearchSpace, from_json, published, to_json
from nas_spaces.layers import (
    LAYERS,
    Classifier,
    Conv,
    Identity,
    MBConv,
    Pool,
    ShuffleUnit,
    Skip,
    Zero,
)
from nas_spaces.primitives import ACTIVATIONS, GraphBuilder, Primitive
from nas_spaces.spelled import Spelled


@pytest.mark.parametrize("name", sorted(published.SPACES))
def test_published_spaces_round_trip(name):
    space = published.load(name)
    again = from_json(to_json(space))
    assert again == space
    rows = space.sample(4, rng=np.random.default_rng(0))
    assert [again.layers(row) for row in rows] == [space.layers(row) for row in rows]
    # A reader without the records builds the same network from what is spelled out.
    network = space.fix(rows[0])
    read = from_json(to_json(network), layers={})
    assert [one.graph for one in read.layers([])] == [one.graph for one in network.layers([])]


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


def every_record():
    examples = {
        "Classifier": Classifier(7, bias=False, dropout=0.5),
        "Conv": Conv(8, 5, 2, None, None),
        "MBConv": MBConv(8, 3, 2, expand=1.5, activation="relu", residual=False),
        "Pool": Pool("average", 5, 2),
        "ShuffleUnit": ShuffleUnit(16, 3, 2, "x", 0.5),
    }
    # What fields without a default are called; another one has to be added here.
    needed = {"out": 16, "kernel": 3, "classes": 7, "hidden": 32}
    for name, cls in LAYERS.items():
        required = [one.name for one in attrs.fields(cls) if one.default is attrs.NOTHING]
        yield examples.get(name) or cls(**{key: needed[key] for key in required})


@pytest.mark.parametrize("layer", list(every_record()), ids=lambda layer: type(layer).__name__)
def test_every_layer_record_round_trips(layer):
    space = SearchSpace("one", (8, 16, 16), (), [Block("only", [layer])])
    text = to_json(space)
    assert from_json(text).blocks[0].layers == (layer,)
    read = from_json(text, layers={})
    assert read.graph(0, 0) == space.graph(0, 0)
    assert to_json(read) == text


@attrs.frozen
class Own:
    """A layer that nas_spaces does not know."""

    out: int

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("conv", "input", self.out, kernel=1)
        return build.graph


def own(*choices):
    """A space, or without choices a network, with a layer of its own."""
    layers = [Own(4), Own(8)] if choices else [Own(4)]
    blocks = [Block("only", layers, reads=[one.name for one in choices])]
    return SearchSpace("own", (3, 8, 8), choices, blocks)


@pytest.mark.parametrize("space", [own(), own(Choice("width", (4, 8)))])
@pytest.mark.parametrize("spell_out", [False, True])
def test_layers_of_ones_own_are_named_by_the_reader(space, spell_out):
    text = to_json(space, spell_out=spell_out)
    assert from_json(text, layers={**LAYERS, "Own": Own}) == space
    if space.choices or not spell_out:
        with pytest.raises(InputError, match=r"layer 'Own' is unknown: .* is given by layers="):
            from_json(text)


def test_a_networks_unknown_layers_are_taken_as_they_are_spelled_out():
    space = own()
    text = to_json(space)
    read = from_json(text)
    [layer] = read.blocks[0].layers
    assert layer == Spelled('{"layer": "Own", "out": 4}', (3, 8, 8), space.graph(0, 0))
    assert read.layers([])[0].graph == space.layers([])[0].graph
    assert to_json(read) == text
    with pytest.raises(InputError, match=r"spelled out for an input \(3, 8, 8\) only"):
        layer.graph((3, 4, 4))


@pytest.mark.parametrize(
    "text", ["", "{", "null", "3", "[]", "{}", '{"format": 2}', '{"format": []}', "{]"]
)
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


# What version 0.1 wrote, with every kind of layer that it had, in fewer lines.
OLD = (
    '{"format": 1, "name": "old", "input_shape": [3, 16, 16], "choices": [{"name": "side", '
    '"options": ["conv", "none"], "group": null}], "blocks": [{"name": "stem", "reads": [], '
    '"inputs": null, "shares": [], "layers": [{"layer": "Conv", "out": 8, "kernel": 3, "stride": '
    '2, "groups": 1, "activation": "relu6"}]}, {"name": "side", "reads": ["side"], "inputs": null, '
    '"shares": [], "layers": [{"layer": "MBConv", "out": 8, "kernel": 5, "stride": 1, "expand": '
    '1.5, "activation": "relu6", "residual": false}, {"layer": "Zero", "stride": 1}]}, {"name": '
    '"main", "reads": [], "inputs": ["stem"], "shares": [], "layers": [{"layer": "ShuffleUnit", '
    '"out": 8, "kernel": 3, "stride": 1, "kind": "x", "scale": 1.0}]}, {"name": "pool", "reads": '
    '[], "inputs": ["side", "main"], "shares": [], "layers": [{"layer": "Pool", "kind": "average", '
    '"kernel": 3, "stride": 2}]}, {"name": "same", "reads": [], "inputs": null, "shares": [], '
    '"layers": [{"layer": "Identity"}]}, {"name": "head", "reads": [], "inputs": null, "shares": '
    '[], "layers": [{"layer": "Classifier", "classes": 4, "bias": true, "dropout": 0.5}]}], '
    '"alive": null}'
)


def test_files_of_version_0_1_are_read():
    space = SearchSpace(
        "old",
        (3, 16, 16),
        [Choice("side", ("conv", "none"))],
        [
            Block("stem", [Conv(8, 3, 2, activation="relu6")]),
            Block("side", [MBConv(8, 5, expand=1.5, residual=False), Zero()], reads=("side",)),
            Block("main", [ShuffleUnit(8, 3, 1, "x")], inputs=("stem",)),
            Block("pool", [Pool("average", 3, 2)], inputs=("side", "main")),
            Block("same", [Identity()]),
            Block("head", [Classifier(4, dropout=0.5)]),
        ],
    )
    assert from_json(OLD) == space
    network = json.loads(OLD)
    network["choices"] = []
    network["blocks"][1]["reads"] = []
    del network["blocks"][1]["layers"][1]
    assert from_json(json.dumps(network)) == space.fix([0])
    with pytest.raises(InputError, match="spelled"):
        from_json(json.dumps({**network, "spelled": []}))


def test_a_newer_format_asks_for_a_newer_version():
    with pytest.raises(InputError, match="of format 1 or 2; format 3 needs a newer version"):
        from_json('{"format": 3}')


def test_networks_are_spelled_out_and_spaces_on_request(cell):
    network = cell.fix([0, 1])
    for space, spell_out, expected in [
        (network, None, True),
        (network, False, False),
        (cell, None, False),
        (cell, True, True),
    ]:
        text = to_json(space, spell_out=spell_out)
        assert (json.loads(text)["spelled"] is not None) == expected
        assert from_json(text) == space
        assert to_json(from_json(text), spell_out=spell_out) == text


def test_what_is_spelled_out():
    network = SearchSpace(
        "small",
        (2, 7, 7),
        (),
        [
            Block("stem", [Conv(4, 5, 2, groups=2, activation="hswish")]),
            Block("pool", [Pool("average", 3, 2)]),
            Block("skip", [Skip(4, 2)], inputs=["stem"]),
            Block("head", [Classifier(3, bias=False)], inputs=["pool", "skip"]),
        ],
    )
    stem, pool, _, head = json.loads(to_json(network))["spelled"]
    assert (stem["inputs"], pool["inputs"], head["inputs"]) == (
        ["input"],
        ["stem"],
        ["pool", "skip"],
    )
    [variant] = stem["variants"]
    assert (variant["in_shape"], variant["out_shape"]) == ([2, 7, 7], [4, 4, 4])
    conv, norm, act = variant["primitives"]
    assert conv["tensors"] == {"blocks.stem.conv.weight": [4, 1, 5, 5]}
    assert (conv["op"], conv["inputs"], conv["padding"]) == ("Convolution", ["input"], 2)
    assert (norm["eps"], norm["tensors"]["blocks.stem.conv_norm.running_var"]) == (1e-5, [4])
    assert (act["kind"], act["inputs"]) == ("hswish", ["conv_norm"])
    [average] = pool["variants"][0]["primitives"]
    assert (average["padding"], average["count_include_pad"]) == (1, False)
    mean, linear = head["variants"][0]["primitives"]
    assert "kernel" not in mean
    assert linear["tensors"] == {"blocks.head.linear.weight": [3, 4]}


def test_a_space_is_spelled_out_for_every_shape_that_enters():
    """A reader that has a row finds each block's variant by its layer and its input."""
    space = SearchSpace(
        "follows",
        (3, 8, 8),
        [Choice("width", (4, 8)), Choice("kernel", (3, 5))],
        [
            Block("stem", [Conv(4), Conv(8)], reads=["width"]),
            Block("left", [MBConv(8, 3), MBConv(8, 5)], reads=["kernel"]),
            Block("right", [MBConv(8, 3)], inputs=["stem"]),
            Block("head", [Classifier(10)], inputs=["left", "right"]),
        ],
    )
    blocks = json.loads(to_json(space, spell_out=True))["spelled"]
    assert [len(block["variants"]) for block in blocks] == [2, 4, 2, 1]
    for arch in ([0, 0], [0, 1], [1, 0], [1, 1]):
        fixed = json.loads(to_json(space.fix(arch)))["spelled"]
        shapes = {"input": list(space.input_shape)}
        for block, alone, layer in zip(blocks, fixed, (*arch, 0, 0), strict=True):
            [variant] = [
                one
                for one in block["variants"]
                if (one["layer"], one["in_shape"]) == (layer, shapes[block["inputs"][0]])
            ]
            shapes[block["name"]] = variant["out_shape"]
            assert [{**variant, "layer": 0}] == alone["variants"]


FIRST = ("spelled", 0, "variants", 0)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spelled",), [], "spelled has 0 entries; expected 11"),
        (("spelled",), 5, "spelled is 5"),
        (("spelled",), {"stem": []}, "spelled is"),
        (("spelled", 0), None, "spelled has 10 entries"),
        (("spelled", 0), "stem", r"spelled\[0\] is 'stem'"),
        (("spelled", 1, "inputs"), ["input"], r"spelled\[1\].inputs\[0\] is 'input'"),
        (("spelled", 1, "inputs"), None, "lacks 'inputs'"),
        (("spelled", 0, "colour"), "red", "has an unknown 'colour'"),
        ((*FIRST, "out_shape", 0), 9, r"out_shape\[0\] is 9; expected 8"),
        ((*FIRST, "primitives", 0, "op"), "Fourier", "op is 'Fourier'; expected 'Convolution'"),
        ((*FIRST, "primitives", 0, "padding"), 0, r"primitives\[0\].padding is 0; expected 1"),
        ((*FIRST, "primitives", 1, "eps"), 1e-3, "eps is 0.001; expected 1e-05"),
        ((*FIRST, "primitives", 0, "tensors"), {}, "lacks 'blocks.stem.conv.weight'"),
        ((*FIRST, "primitives"), None, "lacks 'primitives'"),
        (("blocks", 0, "layers", 0, "kernel"), 5, "kernel is 3; expected 5"),
    ],
)
def test_what_is_spelled_out_must_agree_with_the_records(path, value, message):
    record = json.loads(to_json(published.load("digits-mobile").fix([0] * 8)))
    with pytest.raises(InputError, match=f"contradicts itself: .*{message}"):
        from_json(at(record, path, value))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("spelled",), 5, "no search space"),
        (("spelled",), [], "block 'only' not spelled out"),
        (("spelled", 0), None, "block 'only' not spelled out"),
        (("spelled", 0), "only", "no search space"),
        (("spelled", 0, "variants"), [], "block 'only' not spelled out"),
        ((*FIRST, "in_shape"), [3, 8], "no search space"),
        ((*FIRST, "in_shape"), [3, 4, 4], "does not fit its inputs"),
        ((*FIRST, "primitives"), 5, "no search space"),
        ((*FIRST, "primitives", 0), "conv", "no search space"),
        ((*FIRST, "primitives", 0, "op"), "Convolutions", "did you mean 'Convolution'"),
        ((*FIRST, "primitives", 0, "op"), None, "no search space"),
        ((*FIRST, "primitives", 0, "inputs"), ["conv"], "no value 'conv' in this layer"),
        ((*FIRST, "primitives", 0, "inputs"), [], "no search space"),
        ((*FIRST, "primitives", 0, "out_channels"), 5, "does not fit its inputs"),
        ((*FIRST, "primitives", 0, "out_channels"), "many", "no search space"),
        ((*FIRST, "primitives", 0, "kernel"), 2, "kernel=2 must be odd"),
        ((*FIRST, "primitives", 0, "kernel"), "1", "kernel is '1'; expected 1"),
        ((*FIRST, "primitives", 0, "padding"), 1, "padding is 1; expected 0"),
        ((*FIRST, "primitives", 0, "colour"), "red", "unknown 'colour'"),
        (("blocks", 0, "layers", 0, "layer"), None, "layer None is unknown"),
        (("blocks", 0, "layers", 0), 5, "no search space"),
    ],
)
def test_a_layer_that_is_spelled_out_wrongly_is_refused(path, value, message):
    record = json.loads(to_json(own()))
    with pytest.raises(InputError, match=message):
        from_json(at(record, path, value))


def test_a_block_cannot_have_the_name_of_the_image():
    space = SearchSpace("own", (3, 8, 8), (), [Block("input", [Classifier(4)])])
    with pytest.raises(InputError, match="block 'input' has the name of the image"):
        to_json(space)


def test_the_format_is_described():
    """Every op, kind and key stands in the page for those who write a reader."""
    page = (Path(__file__).parents[1] / "docs" / "json-format.md").read_text()
    record = json.loads(to_json(published.load("digits-mobile"), spell_out=True))
    words = {*ACTIVATIONS, "padding", "eps", "count_include_pad", "tensors"}
    words |= {*record, *record["choices"][0], *record["blocks"][0], *record["spelled"][0]}
    words |= {*record["spelled"][0]["variants"][0]}
    for cls in get_args(Primitive):
        words |= {cls.__name__, *(one.name for one in attrs.fields(cls))}
    assert not [word for word in sorted(words) if f"`{word}`" not in page]
    [example] = page.split("```json")[1:]
    example = example.split("```")[0]
    assert json.loads(to_json(from_json(example))) == json.loads(example)
