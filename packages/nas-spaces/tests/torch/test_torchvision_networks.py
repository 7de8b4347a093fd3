"""Networks that torchvision has, too: another construction of what the papers print."""

import pytest
import torch

from nas_spaces import published
from nas_spaces.torch import Network

models = pytest.importorskip(
    "torchvision.models", reason="torchvision is no dependency of nas-spaces; install it to compare"
)


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("mobilenet-v2", "mobilenet_v2"),
        ("mobilenet-v3-large", "mobilenet_v3_large"),
        ("mnasnet-b1", "mnasnet1_0"),
    ],
)
def test_the_same_weights_give_the_same_logits(name, theirs):
    space, _ = published.architecture(name)
    generator = torch.Generator().manual_seed(1)
    ours = Network(space, generator=generator).eval()
    other = getattr(models, theirs)(weights=None).eval()
    with torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            if tensor.is_floating_point():
                # Positive, as variances are, and small, so that nothing overflows.
                tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.2)
    # Both list their tensors in the order of the layers.
    state = dict(zip(ours.state_dict(), other.state_dict().values(), strict=True))
    ours.load_state_dict(state)
    norms = [module for module in other.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in ours.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = norms[0].eps
    images = torch.randn((1, 3, 224, 224), generator=generator)
    with torch.no_grad():
        logits, expected = ours(images), other(images)
    assert logits.shape == (1, 1000)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
