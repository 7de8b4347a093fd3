"""Conformance checks that anybody can run on a space, sampler, searcher or metric of their own.

Each check raises AssertionError with a plain message at the first rule that is broken and
returns nothing otherwise. They look at what the protocols promise, not at how good a result is.

>>> from nas_spaces import published
>>> check_space(published.load("nas-bench-macro"))
"""

import json
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces.feasible import FeasibleSet
from nas_spaces.layers import LAYERS
from nas_spaces.primitives import Primitive, Zeros
from nas_spaces.protocols import Metric, Sampler, Searcher
from nas_spaces.serialise import from_json, to_json
from nas_spaces.space import SearchSpace
from nas_spaces.table import Cost, Table

__all__ = ["check_metric", "check_sampler", "check_searcher", "check_space"]

Rows = NDArray[np.int64]

PRIME = 2**61 - 1


def check_space(space: SearchSpace, *, layers: Mapping[str, type] = LAYERS) -> None:
    """Check what everything else takes for granted about a space.

    Sampling, numbering, shapes from block to block, tables against sums over layers, restriction,
    canonical rows and the JSON round trip.

    Args:
        space: the space.
        layers: the layer records that it uses, by class name; for layers of one's own.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    _expect(isinstance(space, SearchSpace), f"{space!r} is no SearchSpace")
    with _no_global_randomness("sample"):
        archs = space.sample(64, rng=np.random.default_rng(0))
    _check_rows(archs, space, "sample")
    _expect_seeded(lambda seed: [space.sample(64, rng=np.random.default_rng(seed))], space)
    for arch in archs[:8]:
        _expect_equal(
            space.parse(space.format(arch)), arch, "parse(format(arch)) differs from arch"
        )
        _expect_equal(
            space.parse(space.notate(arch)), arch, "parse(notate(arch)) differs from arch"
        )
        _check_network(space, arch)
    # In large spaces this pass over all graphs takes most of the time.
    tables = _tables(space)
    _check_tables(space, archs, *tables)
    _check_canonical(space, archs, tables)
    _check_restriction(space, tables[0])
    # A layer that is not in layers shall be told, not taken as a network spells it out.
    text = to_json(space, spell_out=False)
    _expect(from_json(text, layers=layers) == space, "from_json(to_json(space)) differs from space")


def check_sampler(
    make: Callable[[np.random.Generator], Sampler], space: SearchSpace, *, asks: int = 6
) -> None:
    """Check a sampler: rows, seeding, and that its state holds everything.

    Args:
        make: builds the sampler from a generator.
        space: the space that it samples.
        asks: how many steps to follow it.

    Raises:
        AssertionError: a rule is broken; the message says which.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> class Uniform:
    ...     def __init__(self, rng):
    ...         self.rng = rng
    ...     def ask(self):
    ...         return space.sample(4, rng=self.rng)
    ...     def state_dict(self):
    ...         return {"rng": self.rng.bit_generator.state}
    ...     def load_state_dict(self, state):
    ...         self.rng.bit_generator.state = state["rng"]
    >>> check_sampler(Uniform, space)
    """

    def build(seed: int) -> Sampler:
        sampler = make(np.random.default_rng(seed))
        _expect(isinstance(sampler, Sampler), _lacking(sampler, Sampler))
        return sampler

    def follow(sampler: Sampler, steps: int) -> list[Rows]:
        with _no_global_randomness("ask"):
            asked = [sampler.ask() for _ in range(steps)]
        for rows in asked:
            _check_rows(rows, space, "ask")
            _expect(len(rows) > 0, "ask returned no row; a step trains at least one")
        return asked

    _expect_seeded(lambda seed: follow(build(seed), asks), space)
    original = build(0)
    follow(original, asks // 2)
    restored = build(1)
    # Used before its state is replaced: nothing of what it did may remain.
    follow(restored, 1)
    restored.load_state_dict(_saved(original.state_dict()))
    _expect_same(
        follow(original, asks),
        follow(restored, asks),
        "a sampler that took the state of another one asks for other rows; "
        "state_dict() must hold everything, the generator included",
    )


def check_searcher(
    make: Callable[[np.random.Generator], Searcher],
    space: SearchSpace,
    feasible: FeasibleSet | None = None,
    *,
    objectives: int = 1,
    rounds: int = 6,
    seeded: bool = True,
) -> None:
    """Check a searcher: feasible and new rows, foreign rows, seeding, and its whole state.

    Args:
        make: builds the searcher, with its limits, from a generator.
        space: the space that it searches.
        feasible: the limits that it was given; None means the whole space.
        objectives: ``m``, the values of a row that it is told.
        rounds: how many times to ask and tell.
        seeded: False for a searcher whose proposals do not depend on the generator.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    within = FeasibleSet(space) if feasible is None else feasible
    measure = _Landscape.of(space, objectives)

    def build(seed: int) -> _Followed:
        searcher = make(np.random.default_rng(seed))
        _expect(isinstance(searcher, Searcher), _lacking(searcher, Searcher))
        return _Followed(searcher, within, measure)

    def proposals(seed: int) -> list[Rows]:
        followed = build(seed)
        first = followed.round()
        _expect(len(first) > 0, "the first ask proposed no row")
        return [first, *(followed.round() for _ in range(rounds - 1))]

    if seeded:
        _expect_seeded(proposals, within.space)
    else:
        _expect_same(proposals(0), proposals(1), "seeded=False, but proposals depend on the seed")
    _check_searcher_state(build, rounds)
    _check_foreign_rows(build, within, rounds)
    _check_refusals(build(0), within)


def check_metric(metric: Metric, space: SearchSpace) -> None:
    """Check a metric: name, unit, one finite value a row, whatever stands beside the row.

    Args:
        metric: the metric.
        space: the space whose rows it takes.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    _expect(isinstance(metric, Metric), _lacking(metric, Metric))
    for what in ("name", "unit"):
        text = getattr(metric, what)
        _expect(isinstance(text, str) and bool(text), f"{what} is {text!r}; it is a text")
    archs = space.sample(16, rng=np.random.default_rng(0))
    before = archs.copy()
    with _no_global_randomness("calling the metric"):
        values = metric(archs)
    _expect_equal(archs, before, "the metric changed the rows that it was given")
    _expect(isinstance(values, np.ndarray), f"values are {type(values).__name__}, not an array")
    _expect(values.shape == (16,), f"16 rows gave values of shape {values.shape}, not (16,)")
    _expect(values.dtype.kind in "iuf", f"values have dtype {values.dtype}; they are numbers")
    _expect(bool(np.isfinite(values).all()), f"values are not all finite: {values}")
    _expect_equal(metric(archs), values, "the same rows gave other values the second time")
    _expect_equal(metric(archs[::-1]), values[::-1], "values depend on the order of the rows")
    alone = np.concatenate([metric(archs[i : i + 1]) for i in range(4)])
    _expect_equal(alone, values[:4], "a row alone has another value than among others")
    _expect_equal(metric(archs.tolist()), values, "rows in a list have other values")
    none = metric(np.zeros((0, space.num_choices), dtype=np.int64))
    _expect(none.shape == (0,), f"no rows gave values of shape {none.shape}, not (0,)")
    _expect_refused(
        lambda: metric(np.zeros((1, space.num_choices + 1), dtype=np.int64)),
        "the metric took a row with a column too many",
    )


def _expect(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _expect_equal(left: ArrayLike, right: ArrayLike, message: str) -> None:
    _expect(np.array_equal(left, right), message)


def _expect_same(left: list[Rows], right: list[Rows], message: str) -> None:
    pairs = zip(left, right, strict=True)
    _expect(all(np.array_equal(a, b) for a, b in pairs), message)


def _expect_refused(call: Callable[[], object], message: str) -> None:
    try:
        call()
    except ValueError:
        return
    raise AssertionError(f"{message}; it must raise InputError")


def _expect_seeded(draw: Callable[[int], list[Rows]], space: SearchSpace) -> None:
    first = draw(0)
    _expect_same(first, draw(0), "the same seed gave other rows")
    other = draw(1)
    same = all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    _expect(not same or space.size == 1, "another seed gave the same rows; is it used?")


def _lacking(thing: object, protocol: type) -> str:
    names = [name for name in vars(protocol) if name == "__call__" or not name.startswith("_")]
    missing = ", ".join(name for name in names if not hasattr(thing, name))
    return f"{type(thing).__name__} is no {protocol.__name__}; it lacks {missing}"


@contextmanager
def _no_global_randomness(what: str) -> Iterator[None]:
    # The legacy functions are the only way to numpy's global generator.
    before = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    yield
    after = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    same = before["pos"] == after["pos"] and np.array_equal(before["key"], after["key"])
    _expect(same, f"{what} drew from numpy's global generator; use the one that is passed")


def _check_rows(rows: Rows, space: SearchSpace, what: str) -> None:
    _expect(isinstance(rows, np.ndarray), f"{what} returned {type(rows).__name__}, not an array")
    _expect(rows.dtype == np.int64, f"{what} returned dtype {rows.dtype}, not int64")
    _expect(
        rows.ndim == 2 and rows.shape[1] == space.num_choices,
        f"{what} returned shape {rows.shape}, not [n, {space.num_choices}]",
    )
    inside = (rows >= 0) & (rows < np.array(space.num_options, dtype=np.int64))
    _expect(bool(inside.all()), f"{what} returned options out of range")
    live = space.mask[np.arange(space.num_choices), rows]
    _expect(bool(live.all()), f"{what} returned options that the space has dropped")


def _saved(state: Any, where: str = "state_dict()") -> Any:
    """Return a state as it comes back from a file: JSON for plain values, arrays as they are."""
    if isinstance(state, np.ndarray):
        _expect(not state.dtype.hasobject, f"{where} is an array of Python objects")
        return state.copy()
    if isinstance(state, Mapping):
        for key in state:
            _expect(isinstance(key, str), f"{where} has the key {key!r}; JSON keys are texts")
        return {key: _saved(value, f"{where}[{key!r}]") for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [_saved(value, f"{where}[{i}]") for i, value in enumerate(state)]
    _expect(
        state is None or isinstance(state, bool | int | float | str),
        f"{where} is a {type(state).__name__}; a state is made of JSON values and numpy arrays",
    )
    return json.loads(json.dumps(state))


def _elements(primitive: Primitive) -> int:
    channels, height, width = primitive.shape
    return channels * height * width


def _tables(space: SearchSpace) -> tuple[Table, ...]:
    """Return the sum and the maximum of what the primitives put out."""
    return Table.many(
        space,
        [
            Cost.of_primitives("activations", "elements", _elements),
            Cost.of_primitives("largest", "elements", _elements, reduce="max"),
        ],
    )


def _check_network(space: SearchSpace, arch: Rows) -> None:
    """Check that the layers of one architecture fit together."""
    placed = space.layers(arch)
    _expect(
        [layer.block for layer in placed] == [block.name for block in space.blocks],
        "layers(arch) does not follow the order of the blocks",
    )
    for layer, plan in zip(placed, space.plan, strict=True):
        hash(layer.layer)
        for source in plan.sources:
            given = space.input_shape if source < 0 else placed[source].out_shape
            _expect(
                tuple(layer.in_shape) == tuple(given),
                f"block {layer.block!r} expects {layer.in_shape} and gets {given}",
            )
        _expect(
            layer.graph == layer.layer.graph(layer.in_shape),
            f"layer {layer.layer} of block {layer.block!r} gives another graph each time",
        )
    _expect(
        placed[-1].out_shape[0] == space.num_classes, "num_classes is not what the network gives"
    )
    fixed = space.fix(arch)
    _expect(fixed.num_choices == 0, "fix(arch) left choices open")
    _expect(fixed.layers([]) == placed, "fix(arch) builds another network")


def _check_tables(space: SearchSpace, archs: Rows, total: Table, largest: Table) -> None:
    for arch in archs[:8]:
        costs = [_elements(node) for layer in space.layers(arch) for node in layer.graph]
        _expect(total([arch])[0] == sum(costs), "a table differs from the sum over layers")
        _expect(
            largest([arch])[0] == max(costs, default=0),
            "a table of maxima differs from the maximum over layers",
        )


def _check_canonical(space: SearchSpace, archs: Rows, tables: tuple[Table, ...]) -> None:
    before = archs.copy()
    canonical = space.canonical(archs)
    _expect_equal(archs, before, "canonical changed the rows that it was given")
    # It may name dropped options: it says which network is built, not how to build it.
    _check_rows(canonical, evolve(space, alive=None), "canonical")
    _expect_equal(space.canonical(canonical), canonical, "canonical(canonical(archs)) moves on")
    numbers: dict[Hashable, int] = {}
    for arch, row in zip(archs[:16], canonical, strict=False):
        same = _fingerprint(space, arch, numbers) == _fingerprint(space, row, numbers)
        _expect(
            same,
            f"canonical changes the network: {space.format(row)} builds another one than "
            f"{space.format(arch)}",
        )
    for table in tables:
        # Less where a cell has operations whose results are not used.
        _expect(
            bool((table(canonical) <= table(archs)).all()),
            f"canonical rows cost more than the rows that they stand for: {table.name}",
        )


def _fingerprint(space: SearchSpace, arch: Rows, numbers: dict[Hashable, int]) -> int:
    """Return a number that is equal for rows that build the same.

    The network is run on one integer in place of an image: a layer is a polynomial without a
    constant, another one for each record and input shape (in ``numbers``). Different networks
    agree with a probability of about 2^-61.
    """
    values = {-1: 3}
    for index, (plan, placed) in enumerate(zip(space.plan, space.layers(arch), strict=True)):
        value = sum(values[source] for source in plan.sources) % PRIME
        if placed.graph:
            number = numbers.setdefault((placed.layer, placed.in_shape), len(numbers) + 1)
            value = value * pow(value + pow(5, number, PRIME), 2, PRIME) % PRIME
            value *= not isinstance(placed.graph[-1], Zeros)
        values[index] = value
    return values[len(space.blocks) - 1]


def _check_restriction(space: SearchSpace, total: Table) -> None:
    open_choices = np.flatnonzero(space.mask.sum(axis=1) > 1)
    if len(open_choices) == 0:
        return
    column = open_choices[0]
    kept = np.flatnonzero(space.mask[column])[-1]
    alive = space.mask.copy()
    alive[column] = False
    alive[column, kept] = True
    smaller = space.restrict(alive)
    rows = smaller.sample(16, rng=np.random.default_rng(0))
    _expect(bool((rows[:, column] == kept).all()), "restrict renumbered the options")
    _expect_equal(_tables(smaller)[0](rows), total(rows), "restrict changed what a row builds")


@frozen
class _Landscape:
    """Values ``[n, m]`` to search on: a fixed random weight for each option, and their mean."""

    weights: NDArray[np.float64]

    @classmethod
    def of(cls, space: SearchSpace, objectives: int) -> "_Landscape":
        """Return a landscape with ``objectives`` values a row."""
        rng = np.random.default_rng(2718)
        return cls(rng.random((objectives, *space.mask.shape)))

    def __call__(self, archs: Rows) -> NDArray[np.float64]:
        """Return values in [0, 1], float64 ``[n, m]``."""
        values = self.weights[:, np.arange(archs.shape[1]), archs]
        return np.asarray(values.mean(axis=2).T, dtype=np.float64)


class _Followed:
    """A searcher with a record of what it proposed, checked at every step."""

    def __init__(self, searcher: Searcher, within: FeasibleSet, measure: _Landscape) -> None:
        self.searcher = searcher
        self.within = within
        self.measure = measure
        self.seen: set[bytes] = set()

    def ask(self) -> Rows:
        """Ask, and check the rows."""
        with _no_global_randomness("ask"):
            rows = self.searcher.ask()
        _check_rows(rows, self.within.space, "ask")
        _expect(
            bool(self.within.contains(rows).all()), "ask proposed rows outside the feasible set"
        )
        keys = [row.tobytes() for row in rows]
        _expect(len(set(keys)) == len(keys), "ask proposed a row twice at once")
        _expect(not self.seen & set(keys), "ask proposed a row that was proposed or told before")
        self.seen.update(keys)
        return rows

    def tell(self, rows: Rows) -> None:
        """Tell the values of rows, which must not be changed."""
        values = self.measure(rows)
        given = (rows.copy(), values.copy())
        with _no_global_randomness("tell"):
            self.searcher.tell(*given)
        _expect_equal(given[0], rows, "tell changed the rows that it was given")
        _expect_equal(given[1], values, "tell changed the values that it was given")
        self.seen.update(row.tobytes() for row in rows)

    def round(self) -> Rows:
        """Ask and tell once."""
        rows = self.ask()
        before = rows.copy()
        if len(rows):
            self.tell(rows)
        _expect_equal(rows, before, "tell changed the rows that ask had returned")
        return rows


def _check_searcher_state(build: Callable[[int], _Followed], rounds: int) -> None:
    """Check that a searcher stopped between tell and ask, or before tell, goes on as it would."""
    for asked in (False, True):
        original, restored = build(0), build(1)
        for _ in range(max(1, rounds // 2)):
            original.round()
        pending = original.ask() if asked else None
        restored.searcher.load_state_dict(_saved(original.searcher.state_dict()))
        restored.seen = set(original.seen)
        if pending is not None and len(pending):
            original.tell(pending)
            restored.tell(pending)
        _expect_same(
            [original.round() for _ in range(rounds)],
            [restored.round() for _ in range(rounds)],
            "a searcher that took the state of another one "
            + ("(between ask and tell) " if asked else "(between tell and ask) ")
            + "proposes other rows; state_dict() must hold everything, the generator included",
        )


def _check_foreign_rows(
    build: Callable[[int], _Followed], within: FeasibleSet, rounds: int
) -> None:
    """Check that rows from elsewhere are taken, at the start and on the way."""
    rng = np.random.default_rng(31)
    followed = build(0)
    for _ in range(rounds):
        foreign = np.unique(within.sample(4, rng=rng), axis=0)
        followed.tell(foreign)
        followed.round()


def _check_refusals(followed: _Followed, within: FeasibleSet) -> None:
    rows = within.sample(2, rng=np.random.default_rng(0))
    values = followed.measure(rows)
    _expect_refused(
        lambda: followed.searcher.tell(rows[:, :-1], values), "tell took rows of the wrong width"
    )
    _expect_refused(
        lambda: followed.searcher.tell(rows, values[:1]), "tell took two rows with one value"
    )
