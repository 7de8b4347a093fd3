import pytest

from nas_spaces import InputError
from nas_spaces.primitives import GraphBuilder, output_shape


@pytest.fixture
def build():
    return GraphBuilder((8, 7, 7))


def test_an_empty_graph_passes_its_input(build):
    assert output_shape(build.graph, (8, 7, 7)) == (8, 7, 7)


@pytest.mark.parametrize(("kernel", "stride", "size"), [(1, 1, 7), (3, 2, 4), (5, 3, 3), (7, 1, 7)])
def test_convolution(build, kernel, stride, size):
    build.convolution("conv", "input", 16, kernel=kernel, stride=stride, groups=4, bias=True)
    (node,) = build.graph
    assert node.shape == (16, size, size)
    assert (node.in_channels, node.out_channels, node.groups, node.bias) == (8, 16, 4, True)


def test_linear_flattens(build):
    build.linear("linear", "input", 10)
    assert build.graph[0].in_features == 8 * 7 * 7
    assert build.graph[0].shape == (10, 1, 1)


@pytest.mark.parametrize(
    ("kind", "shape"), [("global", (8, 1, 1)), ("max", (8, 4, 4)), ("average", (8, 4, 4))]
)
def test_pool(build, kind, shape):
    build.pool("pool", "input", kind, kernel=3, stride=2)
    assert build.graph[0].shape == shape


def test_even_pools_are_not_padded(build):
    build.pool("pool", "input", "average", kernel=2, stride=2)
    assert build.graph[0].shape == (8, 3, 3)


def test_channels_change_places_or_are_summed(build):
    assert build.shape_of(build.shuffle("shuffle", "input", 2)) == (8, 7, 7)
    assert build.shape_of(build.split_softmax("softmax", "input", 4)) == (8, 7, 7)
    assert build.shape_of(build.split_sum("sum", "input", 4)) == (2, 7, 7)


def test_values_meet(build):
    half = build.select("half", "input", 1, 2)
    assert build.shape_of(half) == (4, 7, 7)
    third = build.select("third", "input", 0, 3)
    assert build.shape_of(third) == (3, 7, 7)
    assert build.shape_of(build.concatenate("join", half, third)) == (7, 7, 7)
    assert build.shape_of(build.add("add", "input", "input")) == (8, 7, 7)
    factor = build.pool("factor", "input", "global")
    assert build.shape_of(build.multiply("scale", "input", factor)) == (8, 7, 7)
    assert build.shape_of(build.zeros("zeros", "input", (2, 3, 4))) == (2, 3, 4)
    assert [node.name for node in build.graph] == [
        "half", "third", "join", "add", "factor", "scale", "zeros",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda b: b.convolution("c", "input", 16, kernel=3, groups=3),
            "convolution 'c': groups=3 must divide 8 and 16 channels",
        ),
        (
            lambda b: b.convolution("c", "input", 16, kernel=2),
            "convolution 'c': kernel=2 must be odd",
        ),
        (
            lambda b: b.activation("a", "input", "rely"),
            "activation 'rely' is unknown; valid: relu, relu6, hswish, swish, sigmoid, hsigmoid",
        ),
        (
            lambda b: b.pool("p", "input", "mean"),
            "pool kind 'mean' is unknown; valid: max, average, global",
        ),
        (
            lambda b: b.add("a", "input", b.select("s", "input", 0, 2)),
            "add 'a': the inputs have different shapes [(4, 7, 7), (8, 7, 7)]",
        ),
        (
            lambda b: b.concatenate("a", "input", b.pool("p", "input", "global")),
            "concatenate 'a': the inputs have different sizes [(8, 7, 7), (8, 1, 1)]",
        ),
        (
            lambda b: b.multiply("m", "input", "input"),
            "multiply 'm': the factor has shape (8, 7, 7), expected (8, 1, 1)",
        ),
        (lambda b: b.norm("n", "conv"), "no value 'conv' in this layer; it has []"),
        (
            lambda b: [b.norm("n", "input"), b.norm("n", "input")],
            "the layer has two values named 'n'; names are unique",
        ),
        (
            lambda b: b.norm("input", "input"),
            "the layer has two values named 'input'; names are unique",
        ),
    ],
)
def test_what_does_not_fit_is_refused(build, call, message):
    with pytest.raises(InputError) as error:
        call(build)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda b: b.convolution("c", "input", 8, kernel=3, stride=0), "'c': stride=0 must be"),
        (lambda b: b.convolution("c", "input", 8, kernel=3, groups=0), "'c': groups=0 must be"),
        (lambda b: b.convolution("c", "input", -8, kernel=3), "'c': out=-8 must be"),
        (lambda b: b.convolution("c", "input", 8, kernel=-1), "'c': kernel=-1 must be"),
        (lambda b: b.linear("l", "input", 0), "'l': out=0 must be"),
        (
            lambda b: b.pool("p", b.pool("g", "input", "global"), "max", kernel=2),
            "pool 'p': kernel=2 is larger than 1 x 1 positions",
        ),
        (lambda b: b.shuffle("s", "input", 3), "'s': groups=3 must divide 4 channels"),
        (lambda b: b.split_sum("s", "input", 3), "'s': splits=3 must divide 4 channels"),
        (lambda b: b.pool("p", "input", "average", kernel=3, stride=0), "'p': stride=0 must be"),
    ],
)
def test_sizes_are_checked(make, message):
    with pytest.raises(InputError, match=message):
        make(GraphBuilder((4, 8, 8)))
