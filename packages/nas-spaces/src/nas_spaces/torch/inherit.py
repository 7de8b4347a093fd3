"""Candidates that start from the weights of one trained path, or of a trained network.

PONAS (Huang and Chu, 2020) trains the largest network first, and its supernet inherits from it.
The source does not say how a smaller candidate takes part of a larger one's weights; here it takes
the first channels and the centre of a kernel. Supernets of bit widths start from a network in full
precision by their first channels too, see `inherit_network`.
"""

from collections.abc import Mapping, Sequence

import torch
from attrs import frozen
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_spaces.errors import InputError
from nas_spaces.primitives import Convolution, Linear, Norm, Primitive
from nas_spaces.space import SearchSpace
from nas_spaces.torch.modules import LayerModule
from nas_spaces.torch.quantise import is_level
from nas_spaces.torch.supernet import Supernet

__all__ = ["Inherited", "corresponding_part", "inherit_candidates", "inherit_network"]


@frozen
class Inherited:
    """What became of the candidates' tensors.

    ``copied``: how many took values. ``kept``: those that kept their own, by their names in the
    supernet's ``state_dict``. ``left``: clipping levels of the network, by their names in its own,
    of which the supernet has no counterpart, such as those of other bits.
    """

    copied: int
    kept: tuple[str, ...]
    left: tuple[str, ...] = ()


@torch.no_grad()
def inherit_candidates(supernet: Supernet, arch: ArrayLike) -> Inherited:
    """Give every candidate of every block the weights of ``arch``'s layer in that block.

    What has one name belongs together. Convolutions and linear maps take the first output and
    input channels, and the centre of a kernel; norms (scale, shift, running statistics), biases
    and squeeze-and-excitation the first channels. A candidate keeps its own values of a tensor
    where ``arch``'s layer has none of that name, or one that is smaller in any direction (nothing
    is padded), or one of a kind whose channels do not correspond: depthwise and dense, or grouped
    otherwise. What only ``arch``'s layer has is left out. The weights of ``arch`` itself are not
    written to, so its outputs stay the same.

    Args:
        supernet: changed in place.
        arch: a row int ``[d]``; in PONAS the largest network, trained before.

    Returns:
        What became of all tensors of the candidates that are not on the path of ``arch``.

    Raises:
        InputError: a row that does not belong to the space.

    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile")
    >>> supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    >>> largest = space.parse("3,3,3,3,3,3,3,3")  # kernel 5, expansion 6
    >>> inherit_candidates(supernet, largest)
    Inherited(copied=432, kept=(), left=())
    >>> large, small = supernet.layer(1, 3), supernet.layer(1, 0)  # kernel 3, expansion 3
    >>> centre = large.depthwise.weight[:24, :, 1:-1, 1:-1]
    >>> torch.equal(small.depthwise.weight, centre)
    True
    """
    copied = 0
    kept: list[str] = []
    for index, combination in enumerate(supernet.combinations(arch)):
        source = supernet.layer(index, combination)
        # Of the sizes that the path uses: beyond them, shared tensors hold what it never trained.
        with torch.device("meta"):
            used = LayerModule([supernet.space.graph(index, combination)])
        block = supernet.space.blocks[index].name
        candidates = supernet.get_submodule(f"blocks.{block}")
        for owner, candidate in candidates.named_children():
            if candidate is source:
                continue
            for name, module in candidate.named_children():
                for key, tensor in module.state_dict().items():
                    values = _counterpart(source, used, name, module, key)
                    if values is None:
                        kept.append(f"blocks.{block}.{owner}.{name}.{key}")
                    else:
                        tensor.copy_(values)
                        copied += 1
    return Inherited(copied, tuple(kept))


@torch.no_grad()
def inherit_network(supernet: Supernet, tensors: Mapping[str, Tensor]) -> Inherited:
    """Give every candidate of every block the weights that a trained network has in that block.

    What has one name belongs together. Where candidates of a block differ in a number of channels,
    one with more than the network takes the network's as its first ones and keeps its own values
    behind them, and one with fewer takes the first; other numbers of channels must be the
    network's. Of a larger kernel a candidate takes the centre; a larger one gets a border of zeros,
    so that the convolution stays what it was. A candidate like the network's layer so starts as
    that layer, and those that share its weights as parts of it.

    Args:
        supernet: changed in place.
        tensors: as `nas_spaces.torch.Network` names them, ``"blocks.BLOCK.PRIMITIVE.KEY"``; what
            has torchvision's names goes through `nas_spaces.torch.from_torchvision` first. A block
            of which they hold nothing keeps its own where a candidate has no weights: the network
            has an identity there.

    Returns:
        What became of the candidates' tensors. Clipping levels of bits that the network does not
        have and a classifier of other classes keep their own.

    Raises:
        InputError: a tensor, other than the classifier's and clipping levels, that no candidate can
            take; a block of which there are no weights although all its candidates have some.
            Nothing is written then.

    >>> from nas_spaces import published
    >>> from nas_spaces.torch import Network
    >>> generator = torch.Generator().manual_seed(0)
    >>> network = Network(published.load("resnet20"), generator=generator)
    >>> space = published.load("resnet20-blocks")
    >>> supernet = Supernet(space, generator=generator)
    >>> inherit_network(supernet, network.state_dict()).kept
    ()
    """
    places: list[tuple[Tensor, Tensor]] = []
    kept: list[str] = []
    taken: set[str] = set()
    known: set[str] = set()
    head = f"blocks.{supernet.space.blocks[-1].name}."
    for index, block in enumerate(supernet.space.blocks):
        candidates = supernet.get_submodule(f"blocks.{block.name}")
        nodes = _weighted_nodes(supernet.space, index)
        for owner, candidate in candidates.named_children():
            for name, module in candidate.named_children():
                for key, tensor in module.state_dict().items():
                    given = f"blocks.{block.name}.{name}.{key}"
                    known.add(given)
                    source = tensors.get(given)
                    if source is None or not _can_take(tensor, source, module, nodes[name]):
                        kept.append(f"blocks.{block.name}.{owner}.{name}.{key}")
                    else:
                        places.append((tensor, source))
                        taken.add(given)
    left = tuple(sorted(name for name in tensors if is_level(name) and name not in known))
    foreign = sorted(
        name for name in tensors if name not in {*taken, *left} and not name.startswith(head)
    )
    if foreign:
        name = foreign[0]
        if f"{name.rpartition('.')[0]}.running_mean" in taken:
            raise InputError(
                f"norms of the network have weights and biases, {name} first, and the supernet's "
                "have none: make it with affine=True"
            )
        raise InputError(
            f"{len(foreign)} tensors of the network correspond to none of space "
            f"{supernet.space.name!r}; the first is {name} of shape {tuple(tensors[name].shape)}: "
            f"take the weights of a network of the same blocks{' and channels' * (name in known)}"
        )
    for index, block in enumerate(supernet.space.blocks[:-1]):
        prefix = f"blocks.{block.name}."
        if _needs_weights(supernet.space, index) and not any(x.startswith(prefix) for x in taken):
            raise InputError(
                f"the network has no weights of block {block.name!r}, and every layer of it in "
                f"space {supernet.space.name!r} has some: take the weights of a network of the "
                "same blocks"
            )
    for tensor, source in places:
        _place(tensor, source)
    return Inherited(len(places), tuple(kept), left)


def _needs_weights(space: SearchSpace, index: int) -> bool:
    """Whether all layers of a block have weights."""
    return all(
        any(node.weighted for node in space.graph(index, combination))
        for combination in range(space.plan[index].combinations)
    )


def _weighted_nodes(space: SearchSpace, index: int) -> dict[str, list[Primitive]]:
    """Return the primitives with weights of all of a block's layers, by their names."""
    nodes: dict[str, list[Primitive]] = {}
    for combination in range(space.plan[index].combinations):
        for node in space.graph(index, combination):
            if node.weighted:
                nodes.setdefault(node.name, []).append(node)
    return nodes


def _can_take(
    tensor: Tensor, source: Tensor, module: nn.Module, nodes: Sequence[Primitive]
) -> bool:
    """Whether a tensor of ``module`` can take ``source`` or a part of it.

    Sizes may differ where those of ``nodes`` do, the block's primitives of the module's name, and
    in the kernel.
    """
    if tensor.ndim != source.ndim:
        return False
    if isinstance(module, nn.Conv2d) and tensor.ndim == 4:
        dense = module.groups == 1
        # A depthwise kernel has one input channel as well; where a block has both kinds it is that.
        if dense and source.shape[1] == 1 < tensor.shape[1] and any(map(_grouped, nodes)):
            return False
        # A dense kernel is none of a grouped convolution, nor the other way round.
        nodes = [node for node in nodes if _of_kind(node, dense)]
    sizes = [_channels(node) for node in nodes]
    return all(
        one == other or axis >= 2 or len({size[axis] for size in sizes}) > 1
        for axis, (one, other) in enumerate(zip(tensor.shape, source.shape, strict=True))
    )


def _grouped(node: Primitive) -> bool:
    return isinstance(node, Convolution) and node.groups > 1


def _of_kind(node: Primitive, dense: bool) -> bool:
    """Whether a convolution is dense, or grouped; a depthwise one of one channel is both."""
    return isinstance(node, Convolution) and (
        node.groups == 1 if dense else node.groups > 1 or node.in_channels == 1
    )


def _channels(node: Primitive) -> tuple[int, int]:
    """Return the first two axes of a primitive's weights: channels that leave it, that enter."""
    if isinstance(node, Convolution):
        return node.out_channels, node.in_channels // node.groups
    if isinstance(node, Linear):
        return node.out_features, node.in_features
    return (node.channels, 0) if isinstance(node, Norm) else (0, 0)


def _place(tensor: Tensor, source: Tensor) -> None:
    """Write ``source`` into the first channels of ``tensor``, its kernel into the centre."""
    if tensor.ndim == 0:
        tensor.copy_(source)
        return
    here: list[slice] = []
    there: list[slice] = []
    for axis, (size, given) in enumerate(zip(tensor.shape, source.shape, strict=True)):
        both = min(size, given)
        # The third and the fourth axis are a kernel's, odd on both sides.
        starts = [(total - both) // 2 if axis >= 2 else 0 for total in (size, given)]
        here.append(slice(starts[0], starts[0] + both))
        there.append(slice(starts[1], starts[1] + both))
    # Around a smaller kernel, where there is one.
    tensor[tuple(here[:2])] = 0
    tensor[tuple(here)] = source[tuple(there)].to(tensor)


def _counterpart(
    source: LayerModule, used: LayerModule, name: str, module: nn.Module, key: str
) -> Tensor | None:
    """Return the part of a tensor of ``source`` for one of ``module``; None where there is none.

    ``used``: the source's layer alone, for its sizes. ``name``: of the primitive. ``key``: of the
    tensor within it.
    """
    if name not in dict(used.named_children()):
        return None
    tensors: dict[str, Tensor] = source.weighted(name).state_dict()
    return corresponding_part(tensors, used.weighted(name), module, key)


def corresponding_part(
    tensors: Mapping[str, Tensor],
    sizes: nn.Module,
    module: nn.Module,
    key: str,
    *,
    pad_kernels: bool = False,
) -> Tensor | None:
    """Return what a tensor of one module starts from, of the trained ones of another.

    The first output and input channels, and the centre of a kernel.

    Args:
        tensors: the trained module's, by name; they may be larger than ``sizes``.
        sizes: a module with the sizes that the trained one uses of them (it may be on the meta
            device).
        module: what starts.
        key: name of the tensor in both.
        pad_kernels: whether a larger kernel gets a border of zeros, which leaves a convolution
            what it was; channels are never padded.

    Returns:
        Values of the shape of ``module``'s tensor, a view where nothing is padded; None where
        there are none: modules of other kinds, no such tensor, one that is too small, or channels
        that do not correspond (depthwise and dense, or grouped otherwise).
    """
    trained: dict[str, Tensor] = sizes.state_dict()
    if not _correspond(sizes, module) or key not in trained or key not in tensors:
        return None
    part: list[slice] = []
    padding: list[int] = []
    for axis, (size, wanted) in enumerate(
        zip(trained[key].shape, module.state_dict()[key].shape, strict=True)
    ):
        # The third and the fourth axis are a kernel's, odd on both sides.
        kernel = axis >= 2
        if wanted > size and not (kernel and pad_kernels):
            return None
        start = max(size - wanted, 0) // 2 if kernel else 0
        part.append(slice(start, start + min(size, wanted)))
        padding += [max(wanted - size, 0) // 2] * 2
    values = tensors[key][tuple(part)]
    # Torch names the last axis first.
    return F.pad(values, padding[::-1]) if any(padding) else values


def _correspond(one: nn.Module, other: nn.Module) -> bool:
    """Whether the first channels of one module mean what those of the other do."""
    if type(one) is not type(other):
        return False
    if not (isinstance(one, nn.Conv2d) and isinstance(other, nn.Conv2d)):
        return True
    if one.groups == other.groups == 1:
        return True
    shapes = [(module.groups, module.in_channels, module.out_channels) for module in (one, other)]
    depthwise = all(groups == entering for groups, entering, _ in shapes)
    multipliers = {leaving // entering for _, entering, leaving in shapes}
    return shapes[0] == shapes[1] or (depthwise and len(multipliers) == 1)
