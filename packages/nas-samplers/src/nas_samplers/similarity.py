"""How alike the candidates of a block transform what they are given.

Single path training trains each candidate with whatever happens to be behind it, which works to the
extent that the candidates of a block give the next one much the same features. SPOS (Guo et al.,
"Single Path One-Shot Neural Architecture Search with Uniform Sampling", ECCV 2020) looks at it by
the cosine similarity of the candidates' feature maps on the same channel.
"""

from collections.abc import Sequence

import numpy as np
import torch
from attrs import frozen
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from nas_spaces import InputError
from nas_spaces.torch import Norms, Supernet

__all__ = ["BlockSimilarity", "ChannelMaps", "Similarity", "candidate_similarity"]


@frozen(eq=False)
class BlockSimilarity:
    """The candidates of one block.

    ``block``, ``choice``: names of the block and of the choice that it reads. ``options``: the
    indices of its live options. ``cosine``: float64 ``[k, k]``, the cosine similarity of two
    candidates' maps on the same channel of the same image, averaged over channels and images.
    Maps of zeros have no direction and do not count; NaN where there were no others.
    """

    block: str
    choice: str
    options: tuple[int, ...]
    cosine: NDArray[np.float64]


@frozen(eq=False)
class ChannelMaps:
    """One channel of one image as each candidate of a block gives it, to be looked at.

    ``block``: its name. ``channel``: the index. ``options``: as in `BlockSimilarity`. ``maps``:
    float64 ``[h, w]``, one an option.
    """

    block: str
    channel: int
    options: tuple[int, ...]
    maps: tuple[NDArray[np.float64], ...]


@frozen(eq=False)
class Similarity:
    """All blocks whose candidates can be compared.

    ``blocks``: in the order of the space. ``maps``: of the first of them, in the first image; the
    channel is the one on which the candidates respond most. None without blocks. ``left_out``:
    names of blocks that have a choice and are not compared: they read several, or their width
    depends on others, or their candidates give maps of different sizes.
    """

    blocks: tuple[BlockSimilarity, ...]
    maps: ChannelMaps | None
    left_out: tuple[str, ...]


@torch.inference_mode()
def candidate_similarity(supernet: Supernet, images: Tensor, path: ArrayLike) -> Similarity:
    """Compare the candidates of each block on the block's input.

    The input is what ``path`` gives, with batch statistics in the norms of the path and of the
    candidates alike; neither the supernet's weights nor its statistics are written. Of candidates
    of different width the channels that both have are compared. Maps of one pixel have a sign and
    no pattern: take images that leave several pixels at the end.

    Args:
        supernet: a trained supernet.
        images: float32 ``[n, c, h, w]``, n at least 2.
        path: int ``[d]``.

    Raises:
        InputError: fewer than 2 images, or a row that does not belong to the space.

    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile")
    >>> supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    >>> images = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> found = candidate_similarity(supernet, images, [0] * space.num_choices)
    >>> len(found.blocks), found.blocks[0].cosine.shape, found.left_out
    (8, (4, 4), ())
    """
    if len(images) < 2:
        raise InputError(f"images is a batch of {len(images)}; batch statistics need at least 2")
    space = supernet.space
    images = images.to(next(supernet.parameters()).device)
    norms = [Norms.of_batch() for _ in space.blocks]
    inputs = supernet.trace(images, path, norms).inputs
    blocks: list[BlockSimilarity] = []
    left_out: list[str] = []
    shown: ChannelMaps | None = None
    for index, (block, plan) in enumerate(zip(space.blocks, space.plan, strict=True)):
        if not block.reads:
            continue
        if len(plan.columns) > 1:
            left_out.append(block.name)
            continue
        options = tuple(np.flatnonzero(space.mask[plan.columns[0]]).tolist())
        maps = [
            supernet.candidate(inputs[index], index, option, Norms.of_batch()) for option in options
        ]
        if len({one.shape[2:] for one in maps}) > 1:
            left_out.append(block.name)
            continue
        blocks.append(BlockSimilarity(block.name, block.reads[0], options, _cosine(maps)))
        shown = shown or _show(block.name, options, maps)
    return Similarity(tuple(blocks), shown, tuple(left_out))


def _cosine(maps: Sequence[Tensor]) -> NDArray[np.float64]:
    """Return the mean cosine similarity ``[k, k]`` of ``maps``, each ``[n, c, h, w]``."""
    flat = [one.flatten(2).double() for one in maps]  # [n, c, h * w]
    lengths = [one.norm(dim=2, keepdim=True) for one in flat]
    # A map of zeros stays one.
    units = [one / length.where(length > 0, 1) for one, length in zip(flat, lengths, strict=True)]
    cosine = np.full((len(maps), len(maps)), np.nan)
    for i in range(len(maps)):
        for j in range(i, len(maps)):
            width = min(maps[i].shape[1], maps[j].shape[1])
            counted = ((lengths[i][:, :width] > 0) & (lengths[j][:, :width] > 0)).sum().item()
            if counted:
                total = (units[i][:, :width] * units[j][:, :width]).sum().item()
                cosine[i, j] = cosine[j, i] = total / counted
    return cosine


def _show(block: str, options: tuple[int, ...], maps: Sequence[Tensor]) -> ChannelMaps:
    width = min(one.shape[1] for one in maps)
    firsts = [one[0, :width].double() for one in maps]
    energies = [one.square().mean(dim=(1, 2)) for one in firsts]
    # Each candidate has the same say, however large its maps are.
    response = sum(energy / energy.max().clamp_min(1e-30) for energy in energies)
    assert isinstance(response, Tensor)
    channel = int(response.argmax())
    return ChannelMaps(block, channel, options, tuple(one[channel].cpu().numpy() for one in firsts))
