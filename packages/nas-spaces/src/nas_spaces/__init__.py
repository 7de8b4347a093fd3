"""Search spaces for image networks as data: architectures are rows of integers.

>>> import numpy as np
>>> from nas_spaces import published
>>> space = published.load("nas-bench-macro")
>>> space.sample(2, rng=np.random.default_rng(0)).shape
(2, 8)
"""

from typing import TYPE_CHECKING, Any

from nas_spaces.errors import InputError, nearest
from nas_spaces.feasible import FeasibleSet, Limit
from nas_spaces.files import replace_file
from nas_spaces.history import History
from nas_spaces.protocols import Learner, Metric, Sampler, Searcher
from nas_spaces.seeds import derive_seed
from nas_spaces.space import Block, Choice, PlacedLayer, SearchSpace
from nas_spaces.table import Table, Term

if TYPE_CHECKING:
    from nas_spaces.serialise import from_json, to_json

__all__ = [
    "Block",
    "Choice",
    "FeasibleSet",
    "History",
    "InputError",
    "Learner",
    "Limit",
    "Metric",
    "PlacedLayer",
    "Sampler",
    "SearchSpace",
    "Searcher",
    "Table",
    "Term",
    "derive_seed",
    "from_json",
    "nearest",
    "replace_file",
    "to_json",
]


def __getattr__(name: str) -> Any:
    # cattrs takes long to import; only who reads or writes JSON waits for it.
    if name in ("from_json", "to_json"):
        from nas_spaces import serialise  # noqa: PLC0415

        return getattr(serialise, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
