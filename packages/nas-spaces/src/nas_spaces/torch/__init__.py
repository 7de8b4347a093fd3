"""Search spaces as torch modules: stand-alone networks and weight-sharing supernets.

>>> import torch
>>> from nas_spaces import published
>>> space = published.load("digits-mobile")
>>> supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
>>> supernet(torch.zeros(2, 1, 8, 8), [0] * 8).shape
torch.Size([2, 10])
"""

from nas_spaces.torch.inherit import Inherited, inherit_candidates, inherit_network
from nas_spaces.torch.initialise import initialise
from nas_spaces.torch.modules import LayerModule
from nas_spaces.torch.network import Network, load_network, save_network
from nas_spaces.torch.norms import Norms
from nas_spaces.torch.quantise import Pact, dorefa, pact, restart_levels
from nas_spaces.torch.supernet import Supernet, Trace, check_gates
from nas_spaces.torch.torchvision_names import from_torchvision

__all__ = [
    "Inherited",
    "LayerModule",
    "Network",
    "Norms",
    "Pact",
    "Supernet",
    "Trace",
    "check_gates",
    "dorefa",
    "from_torchvision",
    "inherit_candidates",
    "inherit_network",
    "initialise",
    "load_network",
    "pact",
    "restart_levels",
    "save_network",
]
