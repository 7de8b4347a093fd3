"""The networks of FNAS's critic: Liu et al., "FNAS", section 3.2."""

import itertools
import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

__all__ = ["Perceptrons"]

LAYERS = 4


class Perceptrons(nn.Module):
    """Several of the paper's networks, ``networks``: four linear layers with PReLU between them.

    All are computed at once. Weights ``[networks, in, out]`` and biases begin uniform in
    +-1/sqrt(in) and slopes at 1/4, as torch has them.
    """

    def __init__(self, networks: int, inputs: int, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (LAYERS - 1), 1]

        def uniform(width: int, *shape: int) -> nn.Parameter:
            values = rng.uniform(-1, 1, size=shape) / math.sqrt(width)
            return nn.Parameter(torch.as_tensor(values, dtype=torch.float32))

        pairs = list(itertools.pairwise(widths))
        self.weights = nn.ParameterList(uniform(m, networks, m, n) for m, n in pairs)
        self.biases = nn.ParameterList(uniform(m, networks, 1, n) for m, n in pairs)
        self.slopes = nn.ParameterList(torch.full((networks,), 0.25) for _ in pairs[1:])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return answers ``[networks, n]`` to rows ``[networks, n, inputs]``."""
        for weight, bias, slope in itertools.zip_longest(self.weights, self.biases, self.slopes):
            x = torch.baddbmm(bias, x, weight)
            if slope is not None:  # behind all but the last; one for each network
                x = functional.prelu(x.reshape(1, len(slope), -1), slope).reshape(x.shape)
        return x[..., 0]
