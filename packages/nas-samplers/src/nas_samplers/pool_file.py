"""The file of a pool: tensors in a safetensors file, and a JSON index in its metadata.

Index and tensors are one file, so that none can be without the other.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
from attrs import field, frozen
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nas_samplers.pool_block import BlockKey, PoolBlock
from nas_samplers.validators import number
from nas_spaces import InputError, replace_file

__all__ = ["HitCount", "PoolContents", "read_pool", "write_pool"]

FORMAT = 1
HEADER = "knowledge_pool"
# What readers of safetensors accept; a longer header would be written and never read.
LONGEST_HEADER = 100_000_000


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


@frozen(eq=False, kw_only=True)
class PoolContents:
    """What the file of a pool holds.

    ``least_similarity``: of the pool. ``iterations``: of its networks, None without any.
    ``tasks``: hits by task. ``blocks``: the oldest first, no two of one key.
    """

    least_similarity: float = field(validator=number(least=0, most=1))
    iterations: int | None
    tasks: Mapping[str | None, HitCount]
    blocks: Sequence[PoolBlock]


def write_pool(path: Path, contents: PoolContents) -> None:
    """Replace the file at ``path`` in one step; see `KnowledgePool.save`.

    Raises:
        InputError: more blocks than the header of a safetensors file can list.
        OSError: the folder cannot be written or the disk is full; the old file stays.
    """
    index = {
        "format": FORMAT,
        "iterations": contents.iterations,
        "least_similarity": contents.least_similarity,
        "tasks": [
            {"task": task, "hits": count.hits, "queries": count.queries}
            for task, count in contents.tasks.items()
        ],
        "blocks": [_entry(i, block) for i, block in enumerate(contents.blocks)],
    }
    tensors = {
        f"blocks.{i}.{name}": x
        for i, block in enumerate(contents.blocks)
        for name, x in block.tensors.items()
    }
    content = safetensors.torch.save(tensors, metadata={HEADER: json.dumps(index)})
    if int.from_bytes(content[:8], "little") > LONGEST_HEADER:
        raise InputError(
            f"the index of {len(contents.blocks)} blocks is longer than a safetensors file can "
            "hold; begin another pool"
        )
    replace_file(path, content)


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


def read_pool(path: Path) -> PoolContents:
    """Return what a file holds; see `KnowledgePool.load`.

    Raises:
        InputError: no such file, one that is truncated or no pool, or an index and tensors that
            do not belong together, by name.
        OSError: the file may not be read.
    """
    if not path.is_file():
        raise InputError(f"pool: there is no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(HEADER)
            # Copies, for the file may be replaced while the pool is in use.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"pool: {path} is truncated, or no safetensors file ({error})") from error
    if header is None:
        raise InputError(
            f"pool: {path} has no index {HEADER!r} in its metadata; give what "
            "KnowledgePool.save wrote"
        )
    try:
        return _contents(json.loads(header), tensors)
    except InputError as error:
        raise InputError(f"pool: {path}: {error}") from error
    except Exception as error:
        # A damaged index surfaces as any exception, from a missing key to a wrong type.
        raise InputError(
            f"pool: the index of {path} is damaged ({type(error).__name__}: {error})"
        ) from error


def _contents(index: dict[str, Any], tensors: Mapping[str, Tensor]) -> PoolContents:
    if index["format"] != FORMAT:
        raise InputError(
            f"a pool of format {index['format']!r}; this version reads {FORMAT}: use the "
            "version of nas-samplers that wrote it"
        )
    grouped: dict[str, dict[str, Tensor]] = {}
    for name, x in tensors.items():
        blocks, _, rest = name.partition(".")
        owner, _, key = rest.partition(".")
        if blocks != "blocks":
            raise InputError(f"the index does not name the tensor {name}")
        grouped.setdefault(owner, {})[key] = x
    found: dict[BlockKey, PoolBlock] = {}
    for place, entry in enumerate(index["blocks"]):
        block = PoolBlock.of(
            BlockKey.from_json(entry["key"]),
            entry["spelled"],
            grouped.pop(str(place), {}),
            task=entry["task"],
            space=entry["space"],
            name=entry["name"],
        )
        if block.key in found:
            raise InputError(f"block {block.name!r}: its key is there twice: {block.key}")
        found[block.key] = block
    if grouped:
        owner, foreign = next(iter(grouped.items()))
        raise InputError(f"the index does not name the tensor blocks.{owner}.{min(foreign)}")
    iterations = index["iterations"]
    if (iterations is None) != (not found) or not isinstance(iterations, int | None):
        raise InputError(f"iterations={iterations!r} of {len(found)} blocks")
    return PoolContents(
        least_similarity=index["least_similarity"],
        iterations=iterations,
        tasks={one["task"]: HitCount(one["hits"], one["queries"]) for one in index["tasks"]},
        blocks=tuple(found.values()),
    )
