"""The conformance checks pass what conforms, and fail what breaks one rule."""

import numpy as np
import pytest
from attrs import evolve, frozen

from nas_spaces import Block, Choice, FeasibleSet, InputError, Limit, SearchSpace, Table, Term
from nas_spaces.layers import Classifier, Conv, Identity
from nas_spaces.primitives import GraphBuilder
from nas_spaces.testing import check_metric, check_sampler, check_searcher, check_space


class Uniform:
    """A sampler that conforms."""

    def __init__(self, space, rng):
        self.space = space
        self.rng = rng

    def ask(self):
        return self.space.sample(4, rng=self.rng)

    def state_dict(self):
        return {"rng": self.rng.bit_generator.state}

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]


class Narrowing:
    """A searcher that conforms: half random rows, half neighbours of the best row so far."""

    def __init__(self, feasible, rng):
        self.feasible = feasible
        self.rng = rng
        self.seen = set()
        self.best = None

    def ask(self):
        rows = self.feasible.sample(8, rng=self.rng)
        if self.best is not None:
            near = np.repeat([self.best[1]], 8, axis=0)
            column = self.rng.integers(near.shape[1])
            near[:, column] = rows[:, column]
            rows = np.concatenate([rows, near])
        rows = np.unique(rows[self.feasible.contains(rows)], axis=0)
        rows = rows[[row.tobytes() not in self.seen for row in rows]]
        self.seen.update(row.tobytes() for row in rows)
        return rows

    def tell(self, archs, values):
        rows = self.feasible.space.check(archs)
        if np.shape(values)[0] != len(rows):
            raise InputError(f"{len(rows)} rows and {len(values)} values")
        self.seen.update(row.tobytes() for row in rows)
        for row, value in zip(rows, np.asarray(values), strict=True):
            if self.best is None or value.sum() < self.best[0]:
                self.best = (float(value.sum()), row.copy())

    def state_dict(self):
        seen = [np.frombuffer(key, dtype=np.int64) for key in sorted(self.seen)]
        return {
            "rng": self.rng.bit_generator.state,
            "seen": np.array(seen),
            "best": None if self.best is None else [self.best[0], self.best[1]],
        }

    def load_state_dict(self, state):
        self.rng.bit_generator.state = state["rng"]
        self.seen = {row.tobytes() for row in state["seen"]}
        self.best = None if state["best"] is None else tuple(state["best"])


@pytest.fixture
def space():
    kernels = (1, 3, 5, 7)
    return SearchSpace(
        "ten",
        (3, 8, 8),
        [Choice(f"c{i}", kernels) for i in range(10)],
        [
            *(Block(f"b{i}", [Conv(8, k) for k in kernels], reads=(f"c{i}",)) for i in range(10)),
            Block("head", [Classifier(4)]),
        ],
    )


@pytest.fixture
def feasible(space):
    area = Table.from_primitives(space, "area", "1", lambda p: getattr(p, "kernel", 0) ** 2)
    return FeasibleSet(space, [Limit(area, upper=200)])


def broken(base, **methods):
    return type("Broken", (base,), methods)


def test_conforming_spaces_pass(plain, widths, cell, space):
    for good in (plain, widths, cell, space):
        check_space(good)
    alive = plain.mask.copy()
    alive[1, 0] = alive[3, 4] = False
    check_space(plain.restrict(alive))
    check_space(SearchSpace("fixed", (3, 8, 8), (), [Block("head", [Classifier(10)])]))


@frozen
class Own:
    out: int

    def graph(self, shape):
        build = GraphBuilder(shape)
        build.convolution("conv", "input", self.out, kernel=1)
        return build.graph


def test_spaces_with_layers_of_ones_own():
    twins = Block("only", [Own(4), Own(4)], reads=("twin",))
    space = SearchSpace("own", (3, 8, 8), [Choice("twin", (0, 1))], [twins])
    check_space(space, layers={"Own": Own})
    with pytest.raises(InputError, match="layer 'Own' is unknown"):
        check_space(space)


class Wandering(SearchSpace):
    """Canonical rows that build another network."""

    def canonical(self, archs):
        return np.zeros_like(self.check(archs))


class Illegible(SearchSpace):
    """Another row is written than is read."""

    def notate(self, arch):
        return self.format(np.zeros_like(arch))


class Restless(SearchSpace):
    """Canonical rows of canonical rows move on."""

    def canonical(self, archs):
        return (self.check(archs) + 1) % np.array(self.num_options)


class Careless(SearchSpace):
    """Rows drawn without the passed generator."""

    def sample(self, n, *, rng):
        return np.random.default_rng(0).integers(0, self.num_options, (n, self.num_choices))


class Narrow(SearchSpace):
    def sample(self, n, *, rng):
        return super().sample(n, rng=rng).astype(np.int32)


class Lossy(SearchSpace):
    def format(self, arch):
        return ",".join("0" for _ in arch)


@pytest.mark.parametrize(
    ("cls", "message"),
    [
        (Wandering, "canonical changes the network: 0,0,0 builds another one than"),
        (Illegible, r"parse\(notate\(arch\)\) differs from arch"),
        (Restless, r"canonical\(canonical\(archs\)\) moves on"),
        (Careless, "another seed gave the same rows; is it used"),
        (Narrow, "sample returned dtype int32, not int64"),
        (Lossy, r"parse\(format\(arch\)\) differs from arch"),
    ],
)
def test_broken_spaces_fail(widths, cls, message):
    space = cls(widths.name, widths.input_shape, widths.choices, widths.blocks)
    with pytest.raises(AssertionError, match=message):
        check_space(space)


def test_canonical_rows_that_cost_more_fail():
    class Costly(SearchSpace):
        """Builds what nothing reads."""

        def canonical(self, archs):
            return np.ones_like(self.check(archs))

    choices = [Choice("unused", (1, 2))]
    blocks = [
        Block("stem", [Conv(8)]),
        Block("unused", [Identity(), Conv(8)], reads=("unused",)),
        Block("head", [Classifier(10)], inputs=("stem",)),
    ]
    check_space(SearchSpace("cheap", (3, 8, 8), choices, blocks))
    with pytest.raises(AssertionError, match=r"cost more than the rows .*: activations"):
        check_space(Costly("costly", (3, 8, 8), choices, blocks))


def test_a_layer_that_changes_its_mind_fails():
    @frozen
    class Fickle:
        def graph(self, shape):
            calls.append(shape)
            build = GraphBuilder(shape)
            build.convolution("conv", "input", 8, kernel=1 + 2 * (len(calls) % 2))
            return build.graph

    calls = []
    space = SearchSpace("fickle", (3, 8, 8), (), [Block("only", [Fickle()])])
    with pytest.raises(AssertionError, match="gives another graph each time"):
        check_space(space, layers={"Fickle": Fickle})


def test_a_conforming_sampler_passes(space):
    check_sampler(lambda rng: Uniform(space, rng), space)


def global_rows(self):
    np.random.seed(0)  # noqa: NPY002
    return self.space.sample(4, rng=self.rng)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"ask": lambda self: self.space.sample(4, rng=self.rng).tolist()}, "ask returned list"),
        ({"ask": lambda self: self.space.sample(4, rng=self.rng)[:, 1:]}, r"not \[n, 10\]"),
        ({"ask": lambda self: self.space.sample(4, rng=self.rng) * 1.0}, "dtype float64"),
        ({"ask": lambda self: self.space.sample(4, rng=self.rng) + 1}, "out of range"),
        ({"ask": lambda self: self.space.sample(0, rng=self.rng)}, "ask returned no row"),
        (
            {"ask": lambda self: self.space.sample(4, rng=np.random.default_rng())},
            "the same seed gave other rows",
        ),
        (
            {"ask": lambda self: self.space.sample(4, rng=np.random.default_rng(0))},
            "another seed gave the same rows",
        ),
        ({"ask": global_rows}, "drew from numpy's global generator"),
        (
            {"state_dict": lambda self: {}, "load_state_dict": lambda self, state: None},
            "state_dict\\(\\) must hold everything",
        ),
        ({"state_dict": lambda self: {"rng": self.rng}}, r"\['rng'\] is a Generator"),
        ({"state_dict": lambda self: {1: 2}}, "has the key 1; JSON keys are texts"),
        ({"state_dict": lambda self: {"n": np.int64(2)}}, r"\['n'\] is a int64"),
        ({"state_dict": lambda self: {"n": np.array([None])}}, "an array of Python objects"),
    ],
)
def test_broken_samplers_fail(space, methods, message):
    cls = broken(Uniform, **methods)
    with pytest.raises(AssertionError, match=message):
        check_sampler(lambda rng: cls(space, rng), space)


def test_a_sampler_without_a_state_is_none(space):
    class Stateless:
        def ask(self):
            return np.zeros((1, 10), dtype=np.int64)

    with pytest.raises(AssertionError) as error:
        check_sampler(lambda rng: Stateless(), space)
    assert str(error.value) == "Stateless is no Sampler; it lacks state_dict, load_state_dict"


def test_a_sampler_of_dropped_options_fails(space):
    alive = space.mask.copy()
    alive[0, 0] = False
    with pytest.raises(AssertionError, match="options that the space has dropped"):
        check_sampler(lambda rng: Uniform(space, rng), space.restrict(alive))


@pytest.mark.parametrize("objectives", [1, 3])
def test_a_conforming_searcher_passes(space, feasible, objectives):
    check_searcher(lambda rng: Narrowing(feasible, rng), space, feasible, objectives=objectives)
    check_searcher(lambda rng: Narrowing(FeasibleSet(space), rng), space)


class Listed(Narrowing):
    """Proposes the feasible rows of a fixed list, without using its generator."""

    def ask(self):
        rows = np.unique(self.feasible.sample(100, rng=np.random.default_rng(9)), axis=0)
        rows = rows[[row.tobytes() not in self.seen for row in rows]][:5]
        self.seen.update(row.tobytes() for row in rows)
        return rows


def test_searchers_that_need_no_generator(space, feasible):
    check_searcher(lambda rng: Listed(feasible, rng), space, feasible, seeded=False)
    with pytest.raises(AssertionError, match="another seed gave the same rows"):
        check_searcher(lambda rng: Listed(feasible, rng), space, feasible)
    with pytest.raises(AssertionError, match="proposals depend on the seed"):
        check_searcher(lambda rng: Narrowing(feasible, rng), space, feasible, seeded=False)


def forgetful(*keys):
    def state_dict(self):
        return {k: v for k, v in Narrowing.state_dict(self).items() if k not in keys}

    def load_state_dict(self, state):
        Narrowing.load_state_dict(self, {**Narrowing.state_dict(self), **state})

    return {"state_dict": state_dict, "load_state_dict": load_state_dict}


def spoil_values(self, archs, values):
    Narrowing.tell(self, archs, values)
    values *= 2


def spoil_rows(self, archs, values):
    Narrowing.tell(self, archs, values)
    archs[:] = 0


def only_own(self, archs, values):
    if any(row.tobytes() not in self.seen for row in np.asarray(archs)):
        raise AssertionError("foreign")
    Narrowing.tell(self, archs, values)


def forget_foreign(self, archs, values):
    before = set(self.seen)
    Narrowing.tell(self, archs, values)
    self.seen = before


def repeat(self):
    return self.feasible.sample(4, rng=np.random.default_rng(self.rng.integers(2)))


def anything_goes(self, archs, values):
    rows = np.asarray(archs)
    if rows.shape[1] == 10:
        Narrowing.tell(self, rows[:1], values[:1])
        self.seen.update(row.tobytes() for row in rows)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"ask": lambda self: self.feasible.space.sample(64, rng=self.rng)}, "outside the feas"),
        ({"ask": repeat}, "proposed a row that was proposed or told before"),
        ({"ask": lambda self: np.repeat(Narrowing.ask(self), 2, axis=0)}, "a row twice at once"),
        ({"ask": lambda self: self.feasible.sample(0, rng=self.rng)}, "first ask proposed no row"),
        ({"tell": spoil_values}, "tell changed the values"),
        ({"tell": spoil_rows}, "tell changed the rows"),
        ({"tell": only_own}, "foreign"),
        ({"tell": anything_goes}, "tell took rows of the wrong width"),
        (forgetful("rng"), "must hold everything"),
        (forgetful("best"), "must hold everything"),
        (forgetful("seen"), "proposed or told before|must hold everything"),
    ],
)
def test_broken_searchers_fail(space, feasible, methods, message):
    cls = broken(Narrowing, **methods)
    with pytest.raises(AssertionError, match=message):
        check_searcher(lambda rng: cls(feasible, rng), space, feasible)


def test_a_searcher_that_proposes_told_rows_again_fails(cell):
    # Four rows: what was told is soon proposed.
    whole = FeasibleSet(cell)
    cls = broken(Narrowing, tell=forget_foreign)
    with pytest.raises(AssertionError, match="proposed or told before"):
        check_searcher(lambda rng: cls(whole, rng), cell)


def test_a_conforming_metric_passes(space):
    check_metric(Table.from_primitives(space, "nodes", "1", lambda p: 1), space)
    terms = [Term((c,), np.random.default_rng(c).random(4)) for c in range(10)]
    check_metric(Table(space, "latency", "ms", terms), space)


class Metric:
    name, unit = "sum", "1"

    def __call__(self, archs):
        rows = np.asarray(archs)
        if rows.shape[1] != 10:
            raise InputError("archs has another width")
        return rows.sum(axis=1)


def clobber(self, archs):
    values = Metric.__call__(self, archs)
    if isinstance(archs, np.ndarray):
        archs[:] = 0
    return values


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"name": ""}, "name is ''; it is a text"),
        ({"unit": None}, "unit is None; it is a text"),
        ({"__call__": lambda self, archs: Metric()(archs).tolist()}, "list, not an array"),
        ({"__call__": lambda self, archs: Metric()(archs)[:, None]}, r"shape \(16, 1\)"),
        ({"__call__": lambda self, archs: Metric()(archs) > 3}, "dtype bool; they are numbers"),
        ({"__call__": lambda self, archs: Metric()(archs) * np.nan}, "not all finite"),
        ({"__call__": lambda self, archs: np.arange(len(archs))}, "order of the rows"),
        (
            {"__call__": lambda self, archs: Metric()(archs) - np.mean(archs)},
            "a row alone has another value",
        ),
        ({"__call__": clobber}, "changed the rows"),
        ({"__call__": lambda self, archs: np.asarray(archs).sum(axis=1)}, "a column too many"),
    ],
)
def test_broken_metrics_fail(space, methods, message):
    check_metric(Metric(), space)
    with pytest.raises(AssertionError, match=message):
        check_metric(broken(Metric, **methods)(), space)


def test_a_metric_without_a_unit_is_none(space):
    with pytest.raises(AssertionError, match="function is no Metric; it lacks name, unit"):
        check_metric(lambda archs: np.zeros(len(archs)), space)


def test_a_space_that_evolve_broke_cannot_be_built(space):
    with pytest.raises(InputError, match="has 4 layers; the choices it reads have 16"):
        evolve(space, blocks=(evolve(space.blocks[0], reads=("c0", "c1")), *space.blocks[1:]))
