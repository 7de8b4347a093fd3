"""Blocks of trained networks, from which the blocks of new ones start: FNAS's knowledge pool.

Liu et al., "FNAS: Uncertainty-Aware Fast Neural Architecture Search" (2021). Left open there, and
decided here: which blocks may exchange weights and how (`nas_samplers.pool_block.values_for`), what
is too far away to start from (``least_similarity``), and whether it helps
(`nas_samplers.pool_guard`).
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from attrs import define, field, frozen
from torch import Tensor

from nas_samplers.pool_block import (
    BlockKey,
    PoolBlock,
    block_keys,
    block_shapes,
    block_tensors,
    values_for,
)
from nas_samplers.pool_file import HitCount, PoolContents, read_pool, write_pool
from nas_samplers.validators import check_number, number
from nas_spaces import InputError, SearchSpace
from nas_spaces.primitives import Graph
from nas_spaces.spelled import spell
from nas_spaces.torch import LayerModule, Network

__all__ = ["Inheritance", "InheritedBlock", "KnowledgePool"]


@frozen
class InheritedBlock:
    """What became of one block with weights.

    ``similarity``: of the source, or of the nearest that is not one; None where nothing has the
    shape. ``task``, ``key``: of the source, None for a miss. ``miss``: None, or why the block
    keeps its own weights.
    """

    name: str
    similarity: float | None
    task: str | None = None
    key: str | None = None
    miss: str | None = None


@frozen
class Inheritance:
    """What a network took from a pool.

    ``hits``: blocks that took weights. ``queries``: blocks that have weights. ``blocks``: each of
    these, in order.
    """

    hits: int
    queries: int
    blocks: tuple[InheritedBlock, ...]

    def __str__(self) -> str:
        """Return what a person wants to know."""
        return f"{self.hits} of {self.queries} blocks start from the pool"


@define(eq=False)
class KnowledgePool:
    """Blocks of stand-alone networks, trained equally long, for other networks to start from.

    Several searches, tasks and spaces share one: blocks are compared by what they are, whatever
    network they come from, so far as input channels, output channels and stride agree. A head for
    other classes is a miss; one for as many classes of another task is not.

    Source: FNAS, architecture knowledge pool. Departures: the place of a block among those of its
    shape is a token of its key, lest the equal layers of a stage replace one another; the nearest
    block *that fits* is taken, where the paper takes the nearest; and there is a least similarity,
    below which the random initialisation stays.

    Args:
        least_similarity: share of the tokens that must agree, in [0, 1]; 1 takes equal blocks only.
            The default lets two of the nine tokens of an inverted residual block differ (kernel
            and expansion, say), or one of five. The paper says that over 99 % of blocks are
            matched (its abstract: all). Of the blocks of random networks of its space (``mnasnet``)
            a key this near is stored for 88 %, 99.9 %, 100 % after 10, 50, 300 networks; an equal
            one for 33 %, 65 %, 98.5 %. Whether such starts are good is for `PoolGuard` to say.

    Raises:
        InputError: a similarity that is none.

    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile").fix([0] * 8)
    >>> trained, new = (
    ...     Network(space, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)
    ... )
    >>> pool = KnowledgePool()
    >>> pool.add(trained, iterations=300, task="digits")
    >>> len(pool), str(pool.initialise(new))
    (11, '11 of 11 blocks start from the pool')
    """

    least_similarity: float = field(default=0.75, kw_only=True, validator=number(least=0, most=1))
    # The oldest first: of equally similar blocks the newest is taken.
    _blocks: dict[BlockKey, PoolBlock] = field(factory=dict, init=False)
    _iterations: int | None = field(default=None, init=False)
    _tasks: dict[str | None, HitCount] = field(factory=dict, init=False)

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._blocks)

    @property
    def blocks(self) -> tuple[PoolBlock, ...]:
        """All blocks, the oldest first."""
        return tuple(self._blocks.values())

    @property
    def iterations(self) -> int | None:
        """How many iterations all networks were trained that were added; None before the first."""
        return self._iterations

    @property
    def tasks(self) -> dict[str | None, HitCount]:
        """Queries and hits of the tasks of `initialise` over the life of the pool."""
        return dict(self._tasks)

    @property
    def hits(self) -> int:
        """How many blocks got weights over the life of the pool."""
        return sum(count.hits for count in self._tasks.values())

    @property
    def queries(self) -> int:
        """How many blocks with weights asked for them over the life of the pool."""
        return sum(count.queries for count in self._tasks.values())

    def fitting(self, space: SearchSpace) -> int:
        """Return how many blocks have the shape of one that a network of the space can have.

        Where none has, no such network can begin with anything of this pool. How alike blocks of
        one shape are does not matter here.
        """
        shapes = block_shapes(space)
        return sum(block.key.shape in shapes for block in self._blocks.values())

    def add(self, network: Network, *, iterations: int, task: str) -> None:
        """Store a copy of all blocks of a trained network that have weights.

        A block takes the place of an older one of the same key, of whatever task.

        Args:
            network: a trained network.
            iterations: optimiser steps that it was trained for. All networks of a pool have the
                same: weights that were trained longer would favour whoever starts from them. One
                that started from the pool counts like the others.
            task: what it was trained on.

        Raises:
            InputError: no network, other iterations than the pool's, no name of a task, or weights
                that are not finite; nothing is then stored.
        """
        _check_network(network)
        if not isinstance(task, str) or not task:
            raise InputError(f"task={task!r} must be a name")
        check_number("iterations", iterations, least=1, whole=True)
        iterations = int(iterations)  # numpy's would not go into the index of a file
        self._check_iterations(iterations, "the network")
        variants = {one["name"]: one["variants"][0] for one in spell(network.space)}
        blocks = [
            PoolBlock.of(
                key,
                variants[name],
                block_tensors(network, name),
                task=task,
                space=network.space.name,
                name=name,
            )
            for name, key in block_keys(network.space).items()
        ]
        self._iterations = iterations
        self._store(blocks)

    def merge(self, other: "KnowledgePool") -> None:
        """Take all blocks of another pool, as newer than one's own, and add up the counts of hits.

        So searches that run beside each other share what they trained: each fills a pool of its
        own.

        Raises:
            InputError: a pool of networks that were trained for other iterations; nothing is then
                taken.

        >>> from nas_spaces import published
        >>> space = published.load("digits-mobile")
        >>> pools = KnowledgePool(), KnowledgePool()
        >>> for option, pool in enumerate(pools):
        ...     network = Network(space.fix([option] * 8), generator=torch.Generator())
        ...     pool.add(network, iterations=300, task=f"search {option}")
        >>> shared = KnowledgePool()
        >>> for pool in pools:
        ...     shared.merge(pool)
        >>> [len(pool) for pool in (*pools, shared)]
        [11, 11, 19]
        """
        if other is self:
            raise InputError("other is this pool itself; give another one")
        if other.iterations is not None:
            self._check_iterations(other.iterations, "the other pool")
            self._iterations = other.iterations
        self._store(other.blocks)
        for task, count in other.tasks.items():
            self.count(task, count.hits, count.queries)

    @torch.no_grad()
    def initialise(self, network: Network, *, task: str | None = None) -> Inheritance:
        """Give each block of a new network the weights of the nearest stored block, in place.

        Weights and statistics of norms. A block that finds none keeps what it has; none takes a
        part of its tensors only. There is no randomness.

        Args:
            network: changed in place, on whatever device it is.
            task: under what name to count hits and queries.

        Raises:
            InputError: no network.
        """
        _check_network(network)
        space = network.space
        names = {block.name: index for index, block in enumerate(space.blocks)}
        found = []
        for name, key in block_keys(space).items():
            module = network.blocks[name]
            assert isinstance(module, LayerModule)
            block, values = self._nearest(name, key, module, space.graph(names[name], 0))
            own = module.state_dict()
            for tensor, value in values.items():
                own[tensor].copy_(value)
            found.append(block)
        hits = sum(block.miss is None for block in found)
        self.count(task, hits, len(found))
        return Inheritance(hits, len(found), tuple(found))

    def _nearest(
        self, name: str, key: BlockKey, module: LayerModule, graph: Graph
    ) -> tuple[InheritedBlock, dict[str, Tensor]]:
        """Return what becomes of a block, and its new values (none where it is a miss)."""
        newest_first = reversed(self._blocks.values())
        rivals = [
            (key.similarity(block.key), block)
            for block in newest_first
            if block.key.shape == key.shape
        ]
        if not rivals:
            entering, leaving, stride = key.shape
            why = f"the pool has no block {entering} -> {leaving} of stride {stride}"
            return InheritedBlock(name, None, miss=why), {}
        # Sorting is stable, so that the newest of equals stays first.
        rivals.sort(key=lambda rival: -rival[0])
        best = rivals[0][0]
        why = f"the nearest has a similarity of {best:.3f}; least is {self.least_similarity:g}"
        for rank, (similarity, block) in enumerate(rivals):
            if similarity < self.least_similarity:
                break
            values, misfit = values_for(block, module, graph)
            if misfit is None:
                return InheritedBlock(name, similarity, block.task, str(block.key)), values
            if rank == 0:
                why = misfit
        return InheritedBlock(name, best, miss=why), {}

    def _check_iterations(self, iterations: int, whose: str) -> None:
        if self._iterations not in (None, iterations):
            raise InputError(
                f"{whose} was trained for {iterations} iterations, those of this pool for "
                f"{self._iterations}; one pool holds equally trained networks only: train as long, "
                "or begin another pool"
            )

    def _store(self, blocks: Iterable[PoolBlock]) -> None:
        for block in blocks:
            # Taken out first, so that it becomes the newest.
            self._blocks.pop(block.key, None)
            self._blocks[block.key] = block

    def count(self, task: str | None, hits: int, queries: int) -> None:
        """Count what `initialise` did in a copy of this pool, such as one in another process.

        Raises:
            InputError: more hits than queries, or a number that is none.
        """
        self._tasks[task] = self._tasks.get(task, HitCount()).plus(hits, queries)

    def save(self, path: Path | str) -> None:
        """Replace the file at ``path`` in one step; the same pool gives the same bytes.

        A safetensors file. Its metadata has one key, ``knowledge_pool``: JSON text with the
        iterations, the counts, and the blocks, the oldest first: key, task, space, name, and the
        primitives as ``docs/json-format.md`` of nas-spaces describes them, with the names of their
        tensors in this file, ``blocks.NUMBER.PRIMITIVE.KEY``. Index and tensors are one file, so
        that none can be without the other.

        Raises:
            InputError: more blocks than the header of a safetensors file can list.
            OSError: the folder cannot be written or the disk is full; the old file stays.
        """
        contents = PoolContents(
            least_similarity=self.least_similarity,
            iterations=self._iterations,
            tasks=self._tasks,
            blocks=self.blocks,
        )
        write_pool(Path(path), contents)

    @classmethod
    def load(cls, path: Path | str) -> "KnowledgePool":
        """Return the pool that `save` wrote; nothing in the file is executed.

        Raises:
            InputError: no such file, one that is truncated or no pool, or an index and tensors that
                do not belong together, by name.
            OSError: the file may not be read.
        """
        contents = read_pool(Path(path))
        pool = cls(least_similarity=contents.least_similarity)
        pool._iterations = contents.iterations
        pool._store(contents.blocks)
        pool._tasks.update(contents.tasks)
        return pool


def _check_network(network: Network) -> None:
    if not isinstance(network, Network):
        raise InputError(
            f"network is a {type(network).__name__}; a pool takes stand-alone networks: "
            "nas_spaces.torch.Network(space.fix(arch), ...)"
        )
