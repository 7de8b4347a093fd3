import pytest
import torch

from nas_spaces import published
from nas_spaces.torch import Supernet


@pytest.mark.parametrize("row", [[3, 2, 4, 1, 0, 3], [0] * 6])
def test_a_supernet_takes_a_step_and_agrees_with_the_network(row):
    space = published.load("nas-bench-201", resolution=8)
    supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([1, 2, 3, 4])
    loss = torch.nn.functional.cross_entropy(supernet(images, row), labels)
    loss.backward()
    trained = {
        name.split(".")[1] + "." + name.split(".")[2]
        for name, parameter in supernet.named_parameters()
        if parameter.grad is not None and name.startswith("blocks.stage1_cell0")
    }
    # The convolutions on the path, and none of the others; what is only multiplied by zero is not.
    prefix = "stage1_cell0_node"
    on_path = {f"{prefix}1_from0.3", f"{prefix}2_from0.2", f"{prefix}3_from2.3"}
    assert trained == (on_path if any(row) else set())
    before = supernet(images, row)
    with torch.no_grad():
        for parameter in supernet.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
        assert not torch.equal(supernet(images, row), before)
        supernet.eval()
        assert torch.equal(supernet(images, row), supernet.inherit(row)(images))
