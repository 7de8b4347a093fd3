import torch

from nas_spaces import published
from nas_spaces.torch.wiring import Wiring


def test_a_chain_keeps_one_value():
    wiring = Wiring.of(published.load("nas-bench-macro"))
    assert wiring.sources[:3] == ((-1,), (0,), (1,))
    assert all(keep == {index} for index, keep in enumerate(wiring.keeps))


def test_a_value_is_kept_until_its_last_reader(cell):
    wiring = Wiring.of(cell)  # stem -> left, right -> sum -> head
    assert wiring.sources == ((-1,), (0,), (0,), (1, 2), (3,))
    assert wiring.keeps == ({0}, {0, 1}, {1, 2}, {3}, {4})


def test_inputs_are_summed_and_values_left_as_they_are(cell):
    wiring = Wiring.of(cell)
    left, right = torch.full((1, 2), 3.0), torch.full((1, 2), 4.0)
    values = {1: left, 2: right}
    after = wiring.advance(values, 3, lambda x: x * 10)
    assert after.keys() == {3}
    assert torch.equal(after[3], torch.full((1, 2), 70.0))
    assert values == {1: left, 2: right}
    assert torch.equal(left, torch.full((1, 2), 3.0))
    assert wiring.output({4: right}) is right
