"""A network that holds the weights of every candidate of every block."""

from functools import partial

import numpy as np
import torch
from attrs import asdict
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nas_spaces.space import Block, SearchSpace
from nas_spaces.torch.initialise import Scheme, initialise
from nas_spaces.torch.modules import LayerModule, Norms, Program, compile_graph
from nas_spaces.torch.network import Network
from nas_spaces.torch.wiring import Values, Wiring

__all__ = ["Supernet"]


class Supernet(nn.Module):
    """Weight-sharing supernet: the architecture is an argument of `forward`.

    Candidates of a block own their weights unless the block names fields in `Block.shares`. Where
    the channels that enter a block depend on a choice before it, its candidates have weights for
    the most of them and use slices. Weights that an architecture does not use take no part in its
    forward and backward pass: their gradients stay None.

    Args:
        space: the search space.
        generator: source of the initial weights, on the CPU.
        affine: whether norms have a scale and a shift (SPOS's supernet has none).
        scheme: how to draw the weights, see `initialise`.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        generator: torch.Generator,
        affine: bool = True,
        scheme: Scheme = "kaiming",
    ) -> None:
        super().__init__()
        self.space = space
        self.wiring = Wiring.of(space)
        self.blocks = nn.ModuleDict()
        self._owners: list[list[str]] = []
        self._programs: list[dict[int, Program]] = [{} for _ in space.blocks]
        for index, (block, plan) in enumerate(zip(space.blocks, space.plan, strict=True)):
            owners = _owners(block)
            candidates = nn.ModuleDict()
            for owner in dict.fromkeys(owners):
                graphs = [
                    space.graph(index, layer * plan.extra + i)
                    for layer, other in enumerate(owners)
                    if other == owner
                    for i in range(plan.extra)
                ]
                candidates[owner] = LayerModule(graphs, affine=affine)
            self.blocks[block.name] = candidates
            self._owners.append(owners)
        initialise(self, scheme, generator=generator)

    def forward(self, x: Tensor, arch: ArrayLike) -> Tensor:
        """Return logits ``[n, classes]`` of images ``[n, c, h, w]`` for one ``arch`` int ``[d]``.

        Raises:
            InputError: a row that does not belong to the space.
        """
        values: Values = {-1: x}
        for index, combination in enumerate(self.combinations(arch)):
            values = self.advance(values, index, combination)
        return self.wiring.output(values)

    def combinations(self, arch: ArrayLike) -> list[int]:
        """Return which of its layers each block uses in ``arch`` int ``[d]``."""
        row: NDArray[np.int64] = self.space.combinations(np.asarray(arch)[None])
        return [int(combination) for combination in row[0]]

    def advance(
        self, values: Values, index: int, combination: int, norms: Norms | None = None
    ) -> Values:
        """Run one block and return the values that later blocks need.

        Args:
            values: values before the block, ``{-1: images}`` before the first; not changed.
            index: the block.
            combination: which of its layers.
            norms: norm statistics to use in place of the supernet's own.
        """
        module = self.layer(index, combination)
        program = self._program(index, combination)
        return self.wiring.advance(values, index, partial(module, program=program, norms=norms))

    def layer(self, index: int, combination: int) -> LayerModule:
        """Return the module with the weights of one layer of a block."""
        candidates = self.blocks[self.space.blocks[index].name]
        assert isinstance(candidates, nn.ModuleDict)
        module = candidates[self._owners[index][combination // self.space.plan[index].extra]]
        assert isinstance(module, LayerModule)
        return module

    def fold(self, index: int, combination: int, norms: Norms) -> None:
        """Merge settled ``norms`` of one layer into its convolutions."""
        norms.fold(self.layer(index, combination), self._program(index, combination))

    def _program(self, index: int, combination: int) -> Program:
        """Return how to run one layer of a block; large blocks are compiled as they are used."""
        programs = self._programs[index]
        if combination not in programs:
            programs[combination] = compile_graph(self.space.graph(index, combination))
        return programs[combination]

    @torch.no_grad()
    def inherit(self, arch: ArrayLike) -> Network:
        """Return the stand-alone network of ``arch`` int ``[d]`` with this supernet's weights.

        Sliced tensors are copied at the size in use; norms without scale and shift get the
        identity. With the same norm statistics its outputs are bitwise those of the supernet.
        """
        network = Network(self.space.fix(arch), generator=torch.Generator())
        network.to(next(self.parameters()).device)
        tensors = {}
        for index, combination in enumerate(self.combinations(arch)):
            source = self.layer(index, combination).state_dict()
            block = self.space.blocks[index].name
            for name, tensor in network.blocks[block].state_dict().items():
                if name in source:
                    part = source[name][tuple(slice(0, size) for size in tensor.shape)]
                    tensors[f"blocks.{block}.{name}"] = part.clone()
        # Assigned, not copied into: the memory format decides which kernels run, and so the bits.
        network.load_state_dict(tensors, strict=False, assign=True)
        return network.train(self.training)


def _owners(block: Block) -> list[str]:
    """Return, for each layer, the name of the module that holds its weights."""
    first: dict[object, int] = {}
    owners = []
    for index, layer in enumerate(block.layers):
        if block.shares:
            fields = asdict(layer, recurse=False)  # type: ignore[arg-type]  # layers are attrs records
            own = tuple((k, v) for k, v in fields.items() if k not in block.shares)
            key: object = (type(layer), own)
        else:
            # Equal layers are the same candidate only by coincidence: each owns its weights.
            key = index
        owners.append(str(first.setdefault(key, index)))
    return owners
