import pytest

from nas_hw.operations import LayerMemory, layer_memory, operations
from nas_spaces.layers import BasicBlock, Classifier, Conv, MBConv, Pool, ShuffleUnit, Zero
from nas_spaces.primitives import GraphBuilder

SHAPE = (8, 10, 10)
FULL = 4 * 8 * 100  # bytes of SHAPE


# Bytes read, of weights, and written, one operation a line; then the most that is alive.
@pytest.mark.parametrize(
    ("layer", "traffic", "peak", "kept"),
    [
        (Conv(16, 3), FULL + 4 * (8 * 16 * 9 + 16) + 2 * FULL, 3 * FULL, 3 * FULL),
        (Pool("max"), FULL + FULL, 2 * FULL, 2 * FULL),
        (
            Classifier(5),
            (FULL + 32) + (32 + 4 * (40 + 5) + 20),
            FULL + 32,
            FULL + 32 + 20,
        ),
        (Classifier(5, bias=False, dropout=0.5), FULL + 32 + 32 + 160 + 20, FULL + 32, FULL + 52),
        (
            MBConv(8, 3, expand=3),
            (FULL + 4 * (8 * 24 + 24) + 3 * FULL)
            + (3 * FULL + 4 * (24 * 9 + 24) + 3 * FULL)
            + (3 * FULL + 4 * (24 * 8 + 8) + FULL)
            + 3 * FULL,
            # The input waits for the sum.
            7 * FULL,
            7 * FULL,
        ),
        (
            MBConv(8, 3, expand=3, residual=False),
            (FULL + 4 * (8 * 24 + 24) + 3 * FULL)
            + (3 * FULL + 4 * (24 * 9 + 24) + 3 * FULL)
            + (3 * FULL + 4 * (24 * 8 + 8) + FULL),
            6 * FULL,
            7 * FULL,
        ),
        (
            # The selections copy nothing, and keep the whole input until the concatenation.
            ShuffleUnit(8, 5),
            (FULL // 2 + 4 * (4 * 4 + 4) + FULL // 2)
            + (FULL // 2 + 4 * (4 * 25 + 4) + FULL // 2)
            + (FULL // 2 + 4 * (4 * 4 + 4) + FULL // 2)
            + (FULL // 2 + FULL // 2 + FULL),
            FULL + FULL // 2 + FULL,
            FULL + FULL // 2 + FULL,
        ),
        (
            # 3 bits of 800 elements are 300 bytes, 2 bits of 576 weights 144; the sum is rectified
            # as it is written.
            BasicBlock(8, 1, 1.0, 2, 3),
            (FULL + 300)
            + (300 + 144 + 32 + 300)
            + (300 + 144 + 32 + FULL)
            + 3 * FULL,
            3 * FULL,
            3 * FULL,
        ),
    ],
)  # fmt: skip
def test_layers_counted_by_hand(layer, traffic, peak, kept):
    found = layer_memory(layer.graph(SHAPE), SHAPE)
    assert found == LayerMemory(traffic, peak, kept, reads=True, passes=False)


def test_layers_that_read_nothing():
    assert layer_memory((), SHAPE) == LayerMemory(0, 0, 0, reads=False, passes=True)
    zeros = layer_memory(Zero(2).graph(SHAPE), SHAPE)
    assert zeros == LayerMemory(FULL // 4, FULL // 4, FULL // 4 + FULL, reads=False, passes=False)


def build(*steps, shape=SHAPE):
    """Return a graph: each step calls a method of the builder."""
    builder = GraphBuilder(shape)
    for method, *arguments in steps:
        getattr(builder, method)(*arguments)
    return builder.graph


def written(graph, shape=SHAPE):
    return [operation.written for operation in operations(graph, shape)[0]]


def test_bits_are_rounded_up_to_bytes():
    # 27 elements of 3 bits are 81 bits.
    assert written(build(("quantise", "q", "input", 3), shape=(3, 3, 3)), (3, 3, 3)) == [11]


@pytest.mark.parametrize("behind", [("norm", "last", "q"), ("activation", "last", "q", "sigmoid")])
def test_behind_a_quantiser_values_are_in_full_precision_again(behind):
    graph = build(("quantise", "q", "input", 2), behind, ("linear", "fc", "last", 8))
    first, second = operations(graph, SHAPE)[0]
    assert (first.written, second.reads) == (FULL, ((0, FULL),))
    assert written(build(("quantise", "q", "input", 2))) == [FULL // 16]


def test_what_is_read_twice_is_not_merged():
    builder = GraphBuilder(SHAPE)
    value = builder.convolution("conv", "input", 8, kernel=1)
    builder.add("sum", value, builder.activation("act", value, "relu"))
    assert written(builder.graph) == [FULL] * 3


def test_what_enters_a_layer_is_not_merged_with_what_is_done_to_it():
    graph = build(("norm", "norm", "input"), ("activation", "act", "norm", "relu"))
    (operation,) = operations(graph, SHAPE)[0]
    # A scale and a shift of each channel.
    assert (operation.weights, operation.written) == (64, FULL)


@pytest.mark.parametrize(
    ("before", "weights"),
    # A norm leaves a bias of what was linear, unless there is one; else it is a scale and a shift.
    [((), 8 * 4), ((("activation", "act", "conv", "relu"),), 2 * 8 * 4)],
)
@pytest.mark.parametrize("bias", [False, True])
def test_norms_are_folded_into_convolutions(before, weights, bias):
    builder = GraphBuilder(SHAPE)
    builder.convolution("conv", "input", 8, kernel=1, bias=bias)
    for method, *arguments in before:
        getattr(builder, method)(*arguments)
    builder.norm("norm", builder.nodes[-1].name)
    (operation,) = operations(builder.graph, SHAPE)[0]
    own = 4 * (64 + 8 * bias)
    assert operation.weights == (own if bias and not before else own + weights)


def test_a_layer_that_ends_with_a_selection_writes_it():
    done, leaving = operations(build(("select", "half", "input", 0, 2)), SHAPE)
    assert [(one.reads, one.written) for one in done] == [(((-1, FULL // 2),), FULL // 2)]
    assert leaving == 0
