"""Stand-alone networks: one architecture as a plain module, and its two files."""

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from nas_spaces.errors import InputError
from nas_spaces.files import replace_file
from nas_spaces.layers import LAYERS
from nas_spaces.serialise import from_json, to_json
from nas_spaces.space import SearchSpace
from nas_spaces.torch.finite import not_finite
from nas_spaces.torch.initialise import Scheme, initialise
from nas_spaces.torch.modules import LayerModule
from nas_spaces.torch.wiring import Wiring

__all__ = ["Network", "load_network", "save_network"]

ARCHITECTURE = "architecture.json"
WEIGHTS = "model.safetensors"


class Network(nn.Module):
    """One architecture as a module of ordinary torch layers.

    Args:
        space: a space with no choice, see `SearchSpace.fix`.
        generator: source of the initial weights, on the CPU.
        scheme: how to draw them, see `initialise`.

    Raises:
        InputError: a space that still has choices.

    >>> import torch
    >>> from nas_spaces import published
    >>> space, arch = published.architecture("nas-bench-macro-best")
    >>> network = Network(space.fix(arch), generator=torch.Generator().manual_seed(0))
    >>> network(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self, space: SearchSpace, *, generator: torch.Generator, scheme: Scheme = "kaiming"
    ) -> None:
        super().__init__()
        if space.num_choices:
            raise InputError(
                f"space {space.name!r} has {space.num_choices} choices; pass space.fix(arch)"
            )
        self.space = space
        self.wiring = Wiring.of(space)
        self.blocks = nn.ModuleDict(
            {block.name: LayerModule([space.graph(i, 0)]) for i, block in enumerate(space.blocks)}
        )
        initialise(self, scheme, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``[n, classes]`` of images ``[n, c, h, w]``."""
        values = {-1: x}
        for index, block in enumerate(self.blocks.values()):
            values = self.wiring.advance(values, index, block)
        return self.wiring.output(values)


def save_network(network: Network, folder: Path) -> None:
    """Write ``architecture.json`` and ``model.safetensors`` into ``folder``.

    The first has every layer spelled out (``docs/json-format.md`` of this package), so that a
    program without this package can build the network and give it the weights of the second. The
    same network gives the same bytes.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: x.detach().cpu().contiguous() for name, x in network.state_dict().items()}
    replace_file(folder / ARCHITECTURE, to_json(network.space))
    replace_file(folder / WEIGHTS, safetensors.torch.save(tensors))


def load_network(folder: Path | str, *, layers: Mapping[str, type] = LAYERS) -> Network:
    """Return the network that `save_network` wrote into ``folder``, in evaluation mode.

    Args:
        folder: what `save_network` was given, by this version or an earlier one.
        layers: records that the file may name. Layers of one's own are built as they are spelled
            out where they are not given, and run as well; only `Network.space` then holds
            `nas_spaces.spelled.Spelled` in their place.

    Raises:
        InputError: a missing file, files that are truncated or do not belong together, or weights
            that are not finite.
    """
    folder = Path(folder)
    for name in (ARCHITECTURE, WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder} holds no {name}; name the folder of a saved network")
    try:
        space = from_json((folder / ARCHITECTURE).read_text(encoding="utf-8"), layers=layers)
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / ARCHITECTURE}: {error}") from error
    network = Network(space, generator=torch.Generator())
    try:
        network.load_state_dict(safetensors.torch.load((folder / WEIGHTS).read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        raise InputError(f"{folder / WEIGHTS} does not fit {ARCHITECTURE}: {error}") from error
    bad = not_finite(network.state_dict())
    if bad:
        raise InputError(
            f"{folder / WEIGHTS}: {len(bad)} tensors ({bad[0]} first) are not finite; train the "
            "network again"
        )
    return network.eval()
