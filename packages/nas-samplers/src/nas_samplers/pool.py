"""Blocks of trained networks, from which the blocks of new ones start: FNAS's knowledge pool.

Liu et al., "FNAS: Uncertainty-Aware Fast Neural Architecture Search" (2021). Left open there, and
decided here: which blocks may exchange weights and how (`nas_samplers.pool_block.values_for`), what
is too far away to start from (``least_similarity``), and whether it helps
(`nas_samplers.pool_guard`).
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from attrs import define, field, frozen
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas_samplers.pool_block import (
    BlockKey,
    PoolBlock,
    block_keys,
    block_shapes,
    block_tensors,
    values_for,
)
from nas_samplers.validators import check_number, number
from nas_spaces import InputError, SearchSpace, replace_file
from nas_spaces.primitives import Graph
from nas_spaces.spelled import spell
from nas_spaces.torch import LayerModule, Network

__all__ = ["HitCount", "Inheritance", "InheritedBlock", "KnowledgePool"]

FORMAT = 1
HEADER = "knowledge_pool"
# What readers of safetensors accept; a longer header would be written and never read.
LONGEST_HEADER = 100_000_000


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


@frozen
class HitCount:
    """How many blocks asked a pool for weights (``queries``), and how many got them (``hits``)."""

    hits: int = field(default=0, validator=number(least=0, whole=True))
    queries: int = field(default=0, validator=number(least=0, whole=True))

    def __attrs_post_init__(self) -> None:
        if self.hits > self.queries:
            raise InputError(f"hits={self.hits} must be at most queries={self.queries}")

    def plus(self, hits: int, queries: int) -> "HitCount":
        """Return the count after more queries."""
        return HitCount(self.hits + hits, self.queries + queries)


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
                _without_names(variants[name]),
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

    def _store(self, blocks: "list[PoolBlock] | tuple[PoolBlock, ...]") -> None:
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
        index = {
            "format": FORMAT,
            "iterations": self._iterations,
            "least_similarity": self.least_similarity,
            "tasks": [
                {"task": task, "hits": count.hits, "queries": count.queries}
                for task, count in self._tasks.items()
            ],
            "blocks": [_entry(i, block) for i, block in enumerate(self._blocks.values())],
        }
        tensors = {
            f"blocks.{i}.{name}": x
            for i, block in enumerate(self._blocks.values())
            for name, x in block.tensors.items()
        }
        content = safetensors.torch.save(tensors, metadata={HEADER: json.dumps(index)})
        if int.from_bytes(content[:8], "little") > LONGEST_HEADER:
            raise InputError(
                f"the index of {len(self)} blocks is longer than a safetensors file can hold; "
                "begin another pool"
            )
        replace_file(Path(path), content)

    @classmethod
    def load(cls, path: Path | str) -> "KnowledgePool":
        """Return the pool that `save` wrote; nothing in the file is executed.

        Raises:
            InputError: no such file, one that is truncated or no pool, or an index and tensors that
                do not belong together, by name.
            OSError: the file may not be read.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"pool: there is no file {path}")
        try:
            with safe_open(path, framework="pt") as file:
                header = (file.metadata() or {}).get(HEADER)
                # Copies, for the file may be replaced while the pool is in use.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(
                f"pool: {path} is truncated, or no safetensors file ({error})"
            ) from error
        if header is None:
            raise InputError(
                f"pool: {path} has no index {HEADER!r} in its metadata; give what "
                "KnowledgePool.save wrote"
            )
        try:
            return cls._of_index(json.loads(header), tensors)
        except InputError as error:
            raise InputError(f"pool: {path}: {error}") from error
        except Exception as error:
            # A damaged index surfaces as any exception, from a missing key to a wrong type.
            raise InputError(
                f"pool: the index of {path} is damaged ({type(error).__name__}: {error})"
            ) from error

    @classmethod
    def _of_index(cls, index: dict[str, Any], tensors: Mapping[str, Tensor]) -> "KnowledgePool":
        if index["format"] != FORMAT:
            raise InputError(
                f"a pool of format {index['format']!r}; this version reads {FORMAT}: use the "
                "version of nas-samplers that wrote it"
            )
        pool = cls(least_similarity=index["least_similarity"])
        grouped: dict[str, dict[str, Tensor]] = {}
        for name, x in tensors.items():
            blocks, _, rest = name.partition(".")
            owner, _, key = rest.partition(".")
            if blocks != "blocks":
                raise InputError(f"the index does not name the tensor {name}")
            grouped.setdefault(owner, {})[key] = x
        for place, entry in enumerate(index["blocks"]):
            block = PoolBlock.of(
                BlockKey.from_json(entry["key"]),
                _without_names(entry["spelled"]),
                grouped.pop(str(place), {}),
                task=entry["task"],
                space=entry["space"],
                name=entry["name"],
            )
            if block.key in pool._blocks:
                raise InputError(f"block {block.name!r}: its key is there twice: {block.key}")
            pool._store([block])
        if grouped:
            owner, foreign = next(iter(grouped.items()))
            raise InputError(f"the index does not name the tensor blocks.{owner}.{min(foreign)}")
        iterations = index["iterations"]
        if (iterations is None) != (not pool._blocks) or not isinstance(iterations, int | None):
            raise InputError(f"iterations={iterations!r} of {len(pool)} blocks")
        pool._iterations = iterations
        for count in index["tasks"]:
            pool._tasks[count["task"]] = HitCount(count["hits"], count["queries"])
        return pool


def _check_network(network: Network) -> None:
    if not isinstance(network, Network):
        raise InputError(
            f"network is a {type(network).__name__}; a pool takes stand-alone networks: "
            "nas_spaces.torch.Network(space.fix(arch), ...)"
        )


def _without_names(variant: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spelled-out block without the names of its tensors, which are those of one file."""
    nodes = [{k: v for k, v in node.items() if k != "tensors"} for node in variant["primitives"]]
    return {"in_shape": variant["in_shape"], "primitives": nodes}


def _entry(place: int, block: PoolBlock) -> dict[str, Any]:
    """Return the index's entry of a block."""
    nodes = []
    for node in block.spelled["primitives"]:
        own = {
            f"blocks.{place}.{name}": list(x.shape)
            for name, x in block.tensors.items()
            if name.startswith(f"{node['name']}.")
        }
        nodes.append({**node, "tensors": own} if own else node)
    return {
        "key": block.key.to_json(),
        "task": block.task,
        "space": block.space,
        "name": block.name,
        "spelled": {"in_shape": block.spelled["in_shape"], "primitives": nodes},
    }
