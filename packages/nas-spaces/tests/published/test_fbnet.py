import pytest

from nas_spaces import published
from nas_spaces.primitives import Convolution, Shuffle


@pytest.mark.parametrize(
    ("name", "identities", "shuffles", "last"),
    [("fbnet-a", 3, 3, 1504), ("fbnet-b", 1, 0, 1984), ("fbnet-c", 1, 0, 1984)],
)
def test_twenty_two_blocks_at_224_pixels(name, identities, shuffles, last):
    space, arch = published.architecture(name)
    placed = space.layers(arch)
    shapes = [layer.out_shape for layer in placed]
    expected = [(16, 112, 112), (16, 112, 112)]
    for channels, size, repeats in (
        (24, 56, 4),
        (32, 28, 4),
        (64, 14, 4),
        (112, 14, 4),
        (184, 7, 4),
        (352, 7, 1),
        (last, 7, 1),
    ):
        expected += [(channels, size, size)] * repeats
    assert shapes == [*expected, (1000, 1, 1)]
    assert sum(not layer.graph for layer in placed) == identities
    nodes = [node for layer in placed for node in layer.graph]
    assert sum(isinstance(node, Shuffle) for node in nodes) == shuffles
    assert all(node.bias for node in nodes if isinstance(node, Convolution))
