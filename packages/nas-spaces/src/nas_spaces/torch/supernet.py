"""A network that holds the weights of every candidate of every block."""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from attrs import asdict, frozen
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from nas_spaces.errors import InputError
from nas_spaces.space import Block, SearchSpace
from nas_spaces.torch.initialise import Scheme, initialise
from nas_spaces.torch.modules import LayerModule
from nas_spaces.torch.network import Network
from nas_spaces.torch.norms import Norms
from nas_spaces.torch.program import Program, compile_graph
from nas_spaces.torch.wiring import Values, Wiring

__all__ = ["Supernet", "Trace", "check_gates"]


@frozen(eq=False)
class Trace:
    """What one pass through a supernet computed, each block's in the order of ``space.blocks``.

    ``logits``: ``[n, classes]``. ``inputs``: what entered each block, ``[n, c, h, w]``.
    ``outputs``: what left it; the last one is ``logits``.
    """

    logits: Tensor
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


class Supernet(nn.Module):
    """Weight-sharing supernet: the architecture is an argument of `forward`.

    Candidates of a block own their weights unless the block names fields in `Block.shares`. Where
    the channels that enter a block depend on a choice before it, its candidates have weights for
    the most of them and use slices. Weights that an architecture does not use take no part in its
    forward and backward pass: their gradients stay None, and an optimiser leaves them alone. Of a
    tensor that is used in part the rest has a gradient of zeros, so that decay and momentum go on
    there (Guo et al. do not say whether theirs do). Norms of sliced widths are sliced as well,
    their running statistics included, so that those mix what all widths and bits gave: measure an
    architecture by statistics of its own, see `nas_spaces.torch.Norms`.

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

    def forward(self, x: Tensor, arch: ArrayLike | Tensor) -> Tensor:
        """Return logits ``[n, classes]`` of images ``[n, c, h, w]``.

        Args:
            x: the images.
            arch: one row int ``[d]``; or gates, a floating-point tensor ``[d, k]`` (``k`` as in
                ``space.mask``): a block that reads choice ``c`` then returns the sum of
                ``gates[c, j] * layer_j(input)`` over the options ``j`` whose gate is not 0. The
                others are not run, and neither their weights nor their gates get a gradient.

        Raises:
            InputError: a row that does not belong to the space; gates of another shape, that are
                not finite, that name an option which does not exist, or that leave a choice none;
                gates on a space that cannot be gated, see `check_gates`.
        """
        if isinstance(arch, Tensor) and arch.is_floating_point():
            return self._mix(x, arch)
        values: Values = {-1: x}
        for index, combination in enumerate(self.combinations(arch)):
            values = self.advance(values, index, combination)
        return self.wiring.output(values)

    def _mix(self, x: Tensor, gates: Tensor) -> Tensor:
        """Return logits of the mixture that ``gates`` float ``[d, k]`` describe."""
        check_gates(self.space)
        taken = _taken(self.space, gates)
        gates = gates.to(x.device)
        values: Values = {-1: x}
        for index, plan in enumerate(self.space.plan):
            if plan.columns:
                (column,) = plan.columns
                run = partial(self._mixture, index, gates[column], taken[column])
                values = self.wiring.advance(values, index, run)
            else:
                values = self.advance(values, index, 0)
        return self.wiring.output(values)

    def _mixture(self, index: int, gates: Tensor, options: Sequence[int], x: Tensor) -> Tensor:
        """Return the sum of a block's layers ``options``, weighted by their ``gates`` ``[k]``."""
        first, *others = options
        total = gates[first] * self.candidate(x, index, first)
        for option in others:
            total = total + gates[option] * self.candidate(x, index, option)
        return total

    def trace(self, x: Tensor, arch: ArrayLike, norms: Sequence[Norms] | None = None) -> Trace:
        """Run one ``arch`` int ``[d]`` and return what entered and left its blocks.

        The logits are those of `forward`, to the bit. Every output is a tensor of its own in the
        autograd graph, also that of an identity, so that the gradient of the loss with respect to
        it is that through this block alone; where nothing before it needs a gradient (frozen
        weights, zeros) it is a leaf that does. ``torch.autograd.grad(loss, trace.outputs)`` works
        where each output reaches the loss; a block of zeros cuts what is before it off, which
        ``materialize_grads=True`` then says. With `candidate` that is all that binary gates need
        (ProxylessNAS, Cai et al., 2019, eq. 4): the derivative of the loss by gate ``j`` is the
        inner product of the gradient of the block's output with what layer ``j`` returns for the
        block's input.

        Args:
            x: images ``[n, c, h, w]``.
            arch: one row.
            norms: statistics to use in place of the supernet's own, one a block; the layers that
                ``arch`` names must be those that they were made for. Dropout is then off.

        Raises:
            InputError: a row that does not belong to the space, or another number of ``norms``.
        """
        if norms is not None and len(norms) != len(self.space.blocks):
            raise InputError(
                f"norms has {len(norms)} entries; space {self.space.name!r} has "
                f"{len(self.space.blocks)} blocks, one Norms each"
            )
        combinations = self.combinations(arch)
        inputs: list[Tensor] = []
        outputs: list[Tensor] = []

        def run(entering: Tensor) -> Tensor:
            index = len(outputs)
            own = None if norms is None else norms[index]
            leaving = self.candidate(entering, index, combinations[index], own)
            # Otherwise its gradient would be that of everything that reads what entered.
            if leaving is entering:
                leaving = entering.view_as(entering)
            if torch.is_grad_enabled() and not leaving.requires_grad:
                leaving = leaving.detach().requires_grad_()
            inputs.append(entering)
            outputs.append(leaving)
            return leaving

        values: Values = {-1: x}
        for index in range(len(combinations)):
            values = self.wiring.advance(values, index, run)
        return Trace(self.wiring.output(values), tuple(inputs), tuple(outputs))

    def candidate(
        self, x: Tensor, index: int, combination: int, norms: Norms | None = None
    ) -> Tensor:
        """Return what one layer of a block makes of the block's input.

        Args:
            x: what enters the block ``[n, c, h, w]``, see `Trace`; it is not written to.
            index: the block.
            combination: which of its layers; of a block that reads one choice, the option.
            norms: statistics of this layer to use in place of the supernet's own.
        """
        module = self.layer(index, combination)
        out: Tensor = module(x, program=self._program(index, combination), norms=norms)
        return out

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
        run = partial(self.candidate, index=index, combination=combination, norms=norms)
        return self.wiring.advance(values, index, run)

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


def check_gates(space: SearchSpace) -> None:
    """Refuse a space whose supernet cannot mix the candidates of its blocks by gates.

    Raises:
        InputError: a block that depends on several choices, or whose candidates differ in the
            shape of their outputs, so that they cannot be summed.

    >>> from nas_spaces import published
    >>> check_gates(published.load("nas-bench-macro"))
    """
    for block, plan in zip(space.blocks, space.plan, strict=True):
        if len(plan.columns) > 1:
            names = ", ".join(repr(space.choices[column].name) for column in plan.columns)
            raise InputError(
                f"gates cannot mix block {block.name!r} of space {space.name!r}: it depends on "
                f"{len(plan.columns)} choices, {names}; use a method without gates, which trains "
                "whole paths, or a space whose blocks read one choice each"
            )
        if plan.varying:
            shapes = sorted(set(plan.out_shapes))
            raise InputError(
                f"gates cannot mix block {block.name!r} of space {space.name!r}: its candidates "
                f"have outputs of different shapes, {shapes[0]} to {shapes[-1]}; use a method "
                "without gates, which trains whole paths, or a space whose choices keep shapes"
            )


def _taken(space: SearchSpace, gates: Tensor) -> list[list[int]]:
    """Return, for each choice, the options whose gates ``[d, k]`` are not 0."""
    if tuple(gates.shape) != space.mask.shape:
        raise InputError(
            f"gates has shape {tuple(gates.shape)}; space {space.name!r} has "
            f"{space.mask.shape[0]} choices of at most {space.mask.shape[1]} options: "
            f"{space.mask.shape}"
        )
    taken = []
    for column, (choice, values) in enumerate(
        zip(space.choices, gates.detach().tolist(), strict=True)
    ):
        options = [option for option, value in enumerate(values) if value != 0]
        if not options:
            raise InputError(
                f"gates[{column}] of choice {choice.name!r} are all 0; at least one candidate must "
                "be open"
            )
        if options[-1] >= len(choice.options):
            raise InputError(
                f"gates[{column}, {options[-1]}] is {values[options[-1]]}; choice {choice.name!r} "
                f"of space {space.name!r} has options 0..{len(choice.options) - 1}: give 0 beyond"
            )
        for option in options:
            if not math.isfinite(values[option]):
                raise InputError(
                    f"gates[{column}, {option}] is {values[option]}; gates are finite numbers"
                )
        taken.append(options)
    return taken


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
