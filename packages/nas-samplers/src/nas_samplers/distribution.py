"""A distribution over architectures: independent categoricals, variable by variable or by group.

Sources: Casale et al., "Probabilistic Neural Architecture Search" (PARSEC), 2019; Yan et al.,
"FP-NAS", CVPR 2021, section 3.
"""

import math
from collections.abc import Mapping
from functools import cached_property, reduce
from typing import Any, Self

import numpy as np
from attrs import frozen
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_softmax

from nas_samplers.past import Past
from nas_samplers.settings import check_settings
from nas_spaces import InputError, SearchSpace, Table
from nas_spaces.protocols import State
from nas_spaces.table import check_table

__all__ = ["Distribution", "Factor", "Moment"]

# Combinations of one group that a joint distribution learns at most: what is beyond has more
# parameters than samples that could ever tell them apart, and fills checkpoints.
LARGEST_GROUP = 2**16


@frozen
class Factor:
    """One categorical: over the product of the options of some choices, in C-order.

    ``columns``: the choices. ``sizes``: how many options each has, dropped ones included.
    """

    columns: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def size(self) -> int:
        """Combinations."""
        return math.prod(self.sizes)


@frozen(eq=False)
class Moment:
    """A distribution at one moment.

    ``step``: training steps that were drawn until then. ``sampled``: rows that were. ``rows``: of
    the last step. ``entropy`` [nats]. ``joint``: whether groups were joint. ``marginals``: float64
    ``[d, k]``. ``cost``: the expected one or an estimate of it, None where none was asked for.
    """

    step: int
    sampled: int
    rows: int
    entropy: float
    joint: bool
    marginals: NDArray[np.float64]
    cost: float | None = None  # states of 0.5.0 have none


class Distribution:
    """Independent categoricals: one a choice (factorised), or one a group of choices (joint).

    A group is what choices name in `Choice.group`; a choice that names none is one of its own.
    Joint, a group of sizes 3, 6, 10, 2 and 2 has 720 parameters and can say that a kernel goes
    with a width; factorised it has 23 and cannot (FP-NAS, section 3.2). `join` turns the one into
    the other without changing any probability.

    A sampler draws from it and a learner moves it; its state is saved with the learner. Options
    that the space has dropped have the probability 0.

    ``factors``: the categoricals, ``f`` of them. ``values``: float64 ``[f, w]``, their logits,
    ``w`` the largest number of combinations, 0 where there is none. ``alive``: bool ``[f, w]``.
    ``steps``, ``sampled``: training steps and rows that a sampler drew. ``rows``: of the last step.
    ``joined``: the step at which groups became joint, 0 from the beginning, None for never.
    ``moments``: the past, at most 200 moments at equal distances.

    Args:
        space: the search space, with at least one choice.
        joint: whether groups are joint from the beginning (PARSEC).

    Raises:
        InputError: a space without choices; joint, a group of more than 65,536 combinations.

    >>> from nas_spaces import published
    >>> space = published.load("fbnetv2-f", resolution=32)
    >>> distribution = Distribution(space)
    >>> distribution.parameters["group10"], f"{distribution.entropy():.2f}"
    (23, '56.25')
    >>> distribution.join()
    >>> distribution.parameters["group10"], f"{distribution.entropy():.2f}"
    (720, '56.25')
    """

    def __init__(self, space: SearchSpace, *, joint: bool = False) -> None:
        if not space.num_choices:
            raise InputError(f"space {space.name!r} has no choices; there is nothing to learn")
        self.space = space
        self.joint = joint
        if joint:
            self.check_joint()
        self.factors = self._factors(joint)
        self.alive = self._alive()
        self.values = np.zeros(self.alive.shape)
        self.steps = self.sampled = self.rows = 0
        self.joined: int | None = 0 if joint else None
        self._past = Past(self._now())

    @property
    def moments(self) -> list[Moment]:
        """The past, the earliest moment first."""
        return self._past.moments

    @cached_property
    def groups(self) -> dict[str, tuple[int, ...]]:
        """The columns of each group, in the order of their first choices."""
        found: dict[tuple[bool, str], list[int]] = {}
        for column, choice in enumerate(self.space.choices):
            own = choice.group is None
            # A choice without a group may have the name of somebody else's group.
            found.setdefault((own, choice.group or choice.name), []).append(column)
        names = [name for _, name in found]
        return {
            f"choice {name}" if own and names.count(name) > 1 else name: tuple(columns)
            for (own, name), columns in found.items()
        }

    @property
    def parameters(self) -> dict[str, int]:
        """How many numbers are learnt for each group."""
        owners = {column: name for name, columns in self.groups.items() for column in columns}
        result = dict.fromkeys(self.groups, 0)
        for factor, live in zip(self.factors, self.alive, strict=True):
            result[owners[factor.columns[0]]] += int(live.sum())
        return result

    def check_joint(self) -> None:
        """Refuse groups that are too large to be joint.

        Raises:
            InputError: a group of more than 65,536 combinations.
        """
        sizes = self.space.num_options
        for name, columns in self.groups.items():
            size = math.prod(sizes[column] for column in columns)
            if size > LARGEST_GROUP:
                raise InputError(
                    f"group {name!r} of space {self.space.name!r} has {size:,} combinations of its "
                    f"{len(columns)} choices; a joint distribution learns at most "
                    f"{LARGEST_GROUP:,} a group: stay factorised, or give its choices several "
                    "groups"
                )

    def _factors(self, joint: bool) -> tuple[Factor, ...]:
        sizes = self.space.num_options
        columns = self.groups.values() if joint else [(c,) for c in range(len(sizes))]
        return tuple(Factor(tuple(own), tuple(sizes[c] for c in own)) for own in columns)

    def _alive(self) -> NDArray[np.bool_]:
        mask = self.space.mask
        alive = np.zeros((len(self.factors), max(f.size for f in self.factors)), dtype=bool)
        for row, factor in zip(alive, self.factors, strict=True):
            live = [mask[c, :n] for c, n in zip(factor.columns, factor.sizes, strict=True)]
            row[: factor.size] = reduce(np.logical_and.outer, live).ravel()
        return alive

    def join(self) -> None:
        """Make groups joint: the logit of a combination is the sum of those of its options.

        Every probability stays as it is. A group of one choice keeps its parameters. Joint
        already, nothing happens.

        Raises:
            InputError: a group of more than 65,536 combinations.
        """
        if self.joint:
            return
        self.check_joint()
        before = self.values
        self.joined = self.steps
        self.joint, self.factors = True, self._factors(True)
        self.alive = self._alive()
        self.values = np.zeros(self.alive.shape)
        for row, factor in zip(self.values, self.factors, strict=True):
            # The factor of a choice was the one of its number.
            parts = [before[c, :n] for c, n in zip(factor.columns, factor.sizes, strict=True)]
            row[: factor.size] = reduce(np.add.outer, parts).ravel()
        self.values[~self.alive] = 0.0

    def log_probabilities(self) -> NDArray[np.float64]:
        """Return float64 ``[f, w]``: of each combination of each factor, -inf where not alive."""
        logits = np.where(self.alive, self.values, -np.inf)
        result: NDArray[np.float64] = log_softmax(logits, axis=1)
        return result

    def entropy(self) -> float:
        """Return the entropy [nats]: the sum of those of the factors."""
        logs = self.log_probabilities()
        chances = np.exp(logs)
        return -float((chances * np.where(chances > 0, logs, 0.0)).sum())

    def log_probability(self, archs: ArrayLike) -> NDArray[np.float64]:
        """Return the logarithms ``[n]`` of the probabilities of architectures int ``[n, d]``.

        Raises:
            InputError: rows that do not belong to the space.
        """
        places = self.places(archs)
        result: NDArray[np.float64] = self.log_probabilities()[
            np.arange(places.shape[1]), places
        ].sum(axis=1)
        return result

    def sample(self, n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return ``n`` architectures int64 ``[n, d]``, independent of each other."""
        # The first combination whose cumulative sum is above a number drawn below the last sum,
        # which rounding may keep from 1: none of probability 0 is ever that.
        sums = np.exp(self.log_probabilities()).cumsum(axis=1)
        drawn = rng.random((n, len(self.factors))) * sums[:, -1]
        places = [np.searchsorted(s, u, side="right") for s, u in zip(sums, drawn.T, strict=True)]
        return self.rows_of(np.stack(places, axis=1))

    def mode(self) -> NDArray[np.int64]:
        """Return the most probable architecture int64 ``[d]``; of equals the first one."""
        (row,) = self.rows_of(self.log_probabilities().argmax(axis=1)[None])
        return np.asarray(row)

    def marginals(self) -> NDArray[np.float64]:
        """Return float64 ``[d, k]``: the probability of each option, ``k`` as in ``space.mask``."""
        result = np.zeros(self.space.mask.shape)
        for factor, chances in zip(self.factors, self._tables(), strict=True):
            for axis, (column, size) in enumerate(zip(factor.columns, factor.sizes, strict=True)):
                others = tuple(other for other in range(chances.ndim) if other != axis)
                result[column, :size] = chances.sum(axis=others)
        return result

    def log_marginals(self) -> NDArray[np.float64]:
        """Return float64 ``[d, k]``: the logarithms of `marginals`, -inf where not live."""
        if self.joint:
            with np.errstate(divide="ignore"):
                return np.log(self.marginals())
        # The factor of a choice is the one of its number; however small, nothing underflows.
        return self.log_probabilities()

    def expected(self, cost: Table) -> float:
        """Return the mean cost of architectures drawn from the distribution, exactly.

        Raises:
            InputError: a maximum, or a table of another space.
        """
        check_table(self.space, cost, "cost")
        if cost.reduce != "sum":
            raise InputError(
                f"cost {cost.name!r} is a maximum over the blocks, whose mean is no sum of "
                "look-ups; take the mean over rows that are sampled"
            )
        tables = self._tables()
        owner = {c: number for number, f in enumerate(self.factors) for c in f.columns}
        total = float(cost.constant)
        for term in cost.terms:
            operands: list[Any] = [term.values.astype(np.float64), list(term.columns)]
            for number in sorted({owner[column] for column in term.columns}):
                columns = self.factors[number].columns
                unread = [axis for axis, c in enumerate(columns) if c not in term.columns]
                kept = [c for c in columns if c in term.columns]
                operands += [tables[number].sum(axis=tuple(unread)), kept]
            # Letters of einsum are few, columns many.
            letters = {column: place for place, column in enumerate(term.columns)}
            operands[1::2] = [[letters[c] for c in axes] for axes in operands[1::2]]
            total += float(np.einsum(*operands, []))
        return total

    def score(self, archs: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
        """Return float64 ``[f, w]``: the derivative by ``values`` of -sum_k weights_k log P(A_k).

        Args:
            archs: int ``[K, d]``.
            weights: float ``[K]``.

        Raises:
            InputError: rows that do not belong to the space.
        """
        places = self.places(archs)
        amounts = np.asarray(weights, dtype=np.float64)
        result: NDArray[np.float64] = amounts.sum() * np.exp(self.log_probabilities())
        np.add.at(result, (np.arange(places.shape[1]), places), -amounts[:, None])
        return result

    def _tables(self) -> list[NDArray[np.float64]]:
        """Return the probabilities of each factor, one axis a choice."""
        chances = np.exp(self.log_probabilities())
        return [
            row[: factor.size].reshape(factor.sizes)
            for row, factor in zip(chances, self.factors, strict=True)
        ]

    def places(self, archs: ArrayLike) -> NDArray[np.int64]:
        """Return int64 ``[n, f]``: the combination that each row has of each factor."""
        rows = self.space.check(archs)
        places = np.zeros((len(rows), len(self.factors)), dtype=np.int64)
        for number, factor in enumerate(self.factors):
            for column, size in zip(factor.columns, factor.sizes, strict=True):
                places[:, number] = places[:, number] * size + rows[:, column]
        return places

    def rows_of(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows int64 ``[n, d]`` of combinations ``[n, f]``."""
        rows = np.empty((len(places), self.space.num_choices), dtype=np.int64)
        for number, factor in enumerate(self.factors):
            rows[:, list(factor.columns)] = np.stack(
                np.unravel_index(places[:, number], factor.sizes), axis=1
            )
        return rows

    def count(self, rows: NDArray[np.int64]) -> None:
        """Count a training step with ``rows`` ``[n, d]``."""
        self.steps += 1
        self.rows = len(rows)
        self.sampled += len(rows)

    def snapshot(self, cost: Table | float | None = None) -> None:
        """Remember this moment, unless moments are already too close together.

        Learners call it after every update.

        Args:
            cost: whose expected value is remembered too; a sum. Of any other cost that value
                itself, as the mean over rows that were drawn estimates it.
        """
        self._past.update(lambda: self._now(cost))

    def _now(self, cost: Table | float | None = None) -> Moment:
        return Moment(
            step=self.steps,
            sampled=self.sampled,
            rows=self.rows,
            entropy=self.entropy(),
            joint=self.joint,
            marginals=self.marginals(),
            cost=self.expected(cost) if isinstance(cost, Table) else cost,
        )

    def to_record(self, cost: Table | None = None) -> dict[str, Any]:
        """Return the past and the present as JSON values, to be drawn; `from_record` reads them.

        ``choices``, ``options``: names. ``groups``: the choices of each group, as indices.
        ``steps``, ``sampled``, ``rows``, ``entropy``, ``joint``: one a moment, see `Moment`.
        ``marginals``: ``[T][d][k]``, of ragged length ``k``. ``costs``: of each moment, null where
        none was asked for. ``parameters``: of each group, now. ``mode``: the most probable row.
        ``joined``: the step at which groups became joint, 0 from the beginning, null for never.
        ``logits``: of each factor, now, null where dropped. The last moment is now.

        Args:
            cost: whose expected value now is wanted; a sum.
        """
        moments = [*self.moments, self._now(cost)]
        if moments[-1].step == moments[-2].step and np.array_equal(
            moments[-1].marginals, moments[-2].marginals
        ):
            moments.pop()
        sizes = self.space.num_options
        return {
            "choices": [choice.name for choice in self.space.choices],
            "options": [[str(o) for o in choice.options] for choice in self.space.choices],
            "groups": {name: list(columns) for name, columns in self.groups.items()},
            "steps": [one.step for one in moments],
            "sampled": [one.sampled for one in moments],
            "rows": [one.rows for one in moments],
            "entropy": [one.entropy for one in moments],
            "joint": [one.joint for one in moments],
            "marginals": [
                [row[:size].tolist() for row, size in zip(one.marginals, sizes, strict=True)]
                for one in moments
            ],
            "costs": [one.cost for one in moments],
            "parameters": self.parameters,
            "mode": self.mode().tolist(),
            "joined": self.joined,
            "logits": [
                [float(row[i]) if live[i] else None for i in range(factor.size)]
                for row, live, factor in zip(self.values, self.alive, self.factors, strict=True)
            ],
        }

    @classmethod
    def from_record(cls, space: SearchSpace, record: Mapping[str, Any]) -> Self:
        """Return the distribution whose present `to_record` wrote; its past is left out.

        Args:
            space: the one that it is of.
            record: JSON values, with ``choices``, ``options``, ``groups``, ``joint``, ``logits``.

        Raises:
            InputError: a record of another space, or that is incomplete or not finite.
        """
        names = [choice.name for choice in space.choices]
        options = [[str(o) for o in choice.options] for choice in space.choices]
        try:
            of = [[*record["choices"]], [[*one] for one in record["options"]]]
            groups = {name: tuple(columns) for name, columns in record["groups"].items()}
            joint = bool(record["joint"][-1])
            # Null, where an option is dropped, becomes nan.
            logits = [np.array(row, dtype=np.float64) for row in record["logits"]]
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise InputError(
                f"the record of a distribution cannot be read: {type(error).__name__}: {error}"
            ) from error
        made = cls(space, joint=joint)
        if of != [names, options] or groups != made.groups:
            raise InputError(
                f"the record is of choices {', '.join(map(str, of[0]))}, or of other options or "
                f"groups, not of space {space.name!r}"
            )
        sizes = [(factor.size,) for factor in made.factors]
        if [row.shape for row in logits] != sizes or not all(
            np.isfinite(row[live[: len(row)]]).all()
            for row, live in zip(logits, made.alive, strict=True)
        ):
            raise InputError(
                f"the record's logits have shapes {[row.shape for row in logits]}; expected shapes "
                f"{sizes}, with finite numbers for all live options"
            )
        for values, row, live in zip(made.values, logits, made.alive, strict=True):
            values[: len(row)] = np.where(live[: len(row)], row, 0.0)
        return made

    def _belongs_to(self) -> dict[str, Any]:
        return {
            "choices": [choice.name for choice in self.space.choices],
            "options": list(self.space.num_options),
            "groups": [list(columns) for columns in self.groups.values()],
            "live options": [np.flatnonzero(row).tolist() for row in self.space.mask],
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""
        return {
            "space": self._belongs_to(),
            "joint": self.joint,
            "joined": self.joined,
            "values": self.values.copy(),
            "steps": self.steps,
            "sampled": self.sampled,
            "rows": self.rows,
            **self._past.state_dict("moments"),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back, whether it was joint or not.

        Raises:
            InputError: the state of another space, or values that are not finite or of another
                shape.
        """
        check_settings(self._belongs_to(), state["space"], "space")
        joint = bool(state["joint"])
        if joint:
            self.check_joint()
        before = self.joint, self.factors, self.alive
        self.joint, self.factors = joint, self._factors(joint)
        self.alive = self._alive()
        values = np.array(state["values"], dtype=np.float64)
        if values.shape != self.alive.shape or not np.isfinite(values).all():
            expected = self.alive.shape
            self.joint, self.factors, self.alive = before
            raise InputError(
                f"state has values of shape {values.shape}, {int((~np.isfinite(values)).sum())} of "
                f"them not finite; expected finite ones of shape {expected}: begin anew"
            )
        self.values = values
        # States of 0.5.0 do not say when.
        self.joined = state.get("joined", 0 if joint else None)
        self.steps, self.sampled = int(state["steps"]), int(state["sampled"])
        self.rows = int(state["rows"])
        self._past.load_state_dict(state, "moments")
