"""Architecture parameters: what samplers draw from, and what learners move."""

from typing import Any

import numpy as np
from attrs import asdict, frozen
from numpy.typing import NDArray
from scipy.special import log_softmax

from nas_samplers.past import Past
from nas_samplers.settings import check_settings
from nas_samplers.validators import check_number
from nas_spaces import InputError, SearchSpace, Table
from nas_spaces.primitives import Zeros
from nas_spaces.protocols import State
from nas_spaces.table import check_table

__all__ = ["Alphas", "Dropped", "Snapshot", "draw_options", "softmax_gradient", "zero_options"]


@frozen(eq=False)
class Snapshot:
    """Alphas at one moment.

    ``step``: training steps that were drawn until then. ``values``: float64 ``[d, k]``.
    ``alive``: bool ``[d, k]``. ``counts``: int64 ``[d, k]``.
    """

    step: int
    values: NDArray[np.float64]
    alive: NDArray[np.bool_]
    counts: NDArray[np.int64]


@frozen
class Dropped:
    """What was dropped when: the training steps until then, a choice and one of its options."""

    step: int
    choice: int
    option: int


class Alphas:
    """One number an option; the softmax over a choice's live options are their probabilities.

    Samplers and a learner share one object. Its state is saved with the learner.

    ``values``: float64 ``[d, k]``, 0 where there is no option. ``alive``: bool ``[d, k]``, begins
    as ``space.mask``. ``counts``: int64 ``[d, k]``, in how many steps a sampler drew the option
    for training. ``steps``: training steps drawn. ``snapshots``: the past, at most 200 moments at
    equal distances. ``dropped``: what went when.

    Args:
        space: the search space, with at least one choice.
        std: standard deviation of the first values (ProxylessNAS 1e-3); 0 makes them equal
            (BetaNAS).
        rng: source of the first values; only used where ``std`` is above 0.
        cost: a table of the same space that is a sum over the choices; None where no cost counts.

    Raises:
        InputError: a space without choices, a ``std`` that is negative or lacks its ``rng``, a
            table of another space or one that is no sum over the choices.

    >>> from nas_spaces import FeasibleSet, published
    >>> space = published.load("nas-bench-macro")
    >>> alphas = Alphas(space)
    >>> alphas.values[:, 1] = 1.0
    >>> alphas.drop(0, 1)
    >>> alphas.probabilities()[0].tolist()
    [0.5, 0.0, 0.5]
    >>> FeasibleSet(space).most_probable(alphas.log_probabilities()).tolist()
    [0, 1, 1, 1, 1, 1, 1, 1]
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        std: float = 0.0,
        rng: np.random.Generator | None = None,
        cost: Table | None = None,
    ) -> None:
        if not space.num_choices:
            raise InputError(f"space {space.name!r} has no choices; there is nothing to learn")
        check_number("std", std, least=0)
        self.space = space
        self.alive = space.mask.copy()
        self.values = np.zeros(self.alive.shape)
        if std > 0:
            if rng is None:
                raise InputError(f"std={std} needs an rng to draw the first values from")
            self.values[self.alive] = rng.normal(0.0, std, size=int(self.alive.sum()))
        self.cost = cost
        self._constant, self._costs = 0.0, np.zeros(self.alive.shape)
        if cost is not None:
            check_table(space, cost, "cost")
            self._constant, self._costs = cost.additive()
        self.counts = np.zeros(self.alive.shape, dtype=np.int64)
        self.steps = 0
        self.dropped: list[Dropped] = []
        self._past = Past(self._now())

    @property
    def snapshots(self) -> list[Snapshot]:
        """The past, the earliest moment first."""
        return self._past.moments

    def probabilities(self) -> NDArray[np.float64]:
        """Return float64 ``[d, k]``: a softmax over the live options, 0 elsewhere."""
        return np.exp(self.log_probabilities())

    def log_probabilities(self, exclude: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
        """Return float64 ``[d, k]``, -inf where an option is not alive.

        This is what `FeasibleSet.most_probable` takes.

        Args:
            exclude: bool ``[d, k]``, options that count as not alive: DARTS ends without those
                that let nothing through, `zero_options`.

        Raises:
            InputError: a choice is left without an option.
        """
        kept = self.alive if exclude is None else self.alive & ~exclude
        if not kept.any(axis=1).all():
            choice = self.space.choices[int((~kept.any(axis=1)).argmax())]
            raise InputError(
                f"exclude leaves choice {choice.name!r} no live option; exclude fewer of them"
            )
        logits = np.where(kept, self.values, -np.inf)
        result: NDArray[np.float64] = log_softmax(logits, axis=1)
        return result

    def expected_cost(self) -> float:
        """Return the mean cost of architectures drawn from the probabilities, constant included.

        Raises:
            InputError: there is no cost.
        """
        return self._constant + float((self.probabilities() * self.costs()).sum())

    def costs(self) -> NDArray[np.float64]:
        """Return float64 ``[d, k]``: what each option adds to the cost, in the table's unit.

        Raises:
            InputError: there is no cost.
        """
        if self.cost is None:
            raise InputError("alphas have no cost; build them with cost=table")
        return self._costs

    def cost_gradient(self) -> NDArray[np.float64]:
        """Return float64 ``[d, k]``: the derivative of `expected_cost` by the values.

        ProxylessNAS, equation 6: p_m (c_m - sum_j p_j c_j), over live options only.

        Raises:
            InputError: there is no cost.
        """
        return softmax_gradient(self.probabilities(), self.costs())

    def count(self, rows: NDArray[np.int64]) -> None:
        """Count a training step that uses every option that ``rows`` ``[n, d]`` name."""
        used = np.zeros(self.counts.shape, dtype=bool)
        used[np.arange(rows.shape[1]), rows] = True
        self.counts += used
        self.steps += 1

    def drop(self, choice: int, option: int) -> None:
        """Take an option (by the indices of its choice and itself) out, for good.

        Raises:
            InputError: it is not alive, or the last of its choice that is.
        """
        d, k = self.alive.shape
        if not (0 <= choice < d and 0 <= option < k and self.alive[choice, option]):
            raise InputError(f"option {option} of choice {choice} is not alive; nothing to drop")
        if self.alive[choice].sum() == 1:
            name = self.space.choices[choice].name
            raise InputError(f"option {option} is the last live one of choice {name!r}; keep it")
        self.alive[choice, option] = False
        self.dropped.append(Dropped(self.steps, choice, option))

    def snapshot(self) -> None:
        """Remember this moment, unless moments are already too close together.

        Learners call it after every update.
        """
        self._past.update(self._now)

    def _now(self) -> Snapshot:
        return Snapshot(self.steps, self.values.copy(), self.alive.copy(), self.counts.copy())

    def to_record(self) -> dict[str, Any]:
        """Return the past and the present as JSON values, to be drawn.

        ``choices`` and ``options``: names. ``steps`` ``[T]``: training steps. ``alphas``,
        ``alive``, ``counts``: ``[T][d][k]``, None where there is no option. ``dropped``: a list
        of ``{"step", "choice", "option"}``, the latter two as indices. The last moment is now.
        """
        moments = [*self.snapshots, self._now()]
        if _same(moments[-2], moments[-1]):
            moments.pop()
        sizes = self.space.num_options
        longest = self.alive.shape[1]

        def ragged(values: NDArray[Any]) -> list[list[Any]]:
            return [
                [*row[:size], *[None] * (longest - size)]
                for row, size in zip(values.tolist(), sizes, strict=True)
            ]

        return {
            "choices": [choice.name for choice in self.space.choices],
            "options": [
                [str(option) for option in choice.options] for choice in self.space.choices
            ],
            "steps": [moment.step for moment in moments],
            "alphas": [ragged(moment.values) for moment in moments],
            "alive": [ragged(moment.alive) for moment in moments],
            "counts": [ragged(moment.counts) for moment in moments],
            "dropped": [asdict(one) for one in self.dropped],
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state."""
        return {
            "choices": [choice.name for choice in self.space.choices],
            "cost": None if self.cost is None else self.cost.name,
            "values": self.values.copy(),
            "alive": self.alive.copy(),
            "counts": self.counts.copy(),
            "steps": self.steps,
            "dropped": [asdict(one) for one in self.dropped],
            **self._past.state_dict("snapshots"),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of another space, or of another cost.
        """
        own = self.state_dict()
        for key in ("choices", "cost"):
            check_settings({key: own[key]}, {key: state[key]}, "space")
        # The first moment of all is kept for good: what was alive before anything was dropped.
        began = np.array(state["snapshots"]["alive"][0], dtype=bool)
        if not np.array_equal(began, self.space.mask):
            raise InputError(
                f"state is of another space: its choices began with {began.sum(axis=1).tolist()} "
                f"live options, those of {self.space.name!r} with "
                f"{self.space.mask.sum(axis=1).tolist()}; resume with the same space, or begin anew"
            )
        self.values = np.array(state["values"], dtype=np.float64)
        self.alive = np.array(state["alive"], dtype=bool)
        self.counts = np.array(state["counts"], dtype=np.int64)
        self.steps = int(state["steps"])
        self.dropped = [Dropped(**one) for one in state["dropped"]]
        self._past.load_state_dict(state, "snapshots")


def _same(one: Snapshot, other: Snapshot) -> bool:
    return one.step == other.step and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("values", "alive", "counts")
    )


def softmax_gradient(
    probabilities: NDArray[np.float64], gradient: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the derivative by the logits, given that by the probabilities; all ``[d, k]``.

    ProxylessNAS, equation 4: sum_j g_j p_j (delta_ij - p_i), which is p_i (g_i - sum_j p_j g_j).

    >>> softmax_gradient(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]])).tolist()
    [[0.25, -0.25]]
    """
    mean = (probabilities * gradient).sum(axis=1, keepdims=True)
    result: NDArray[np.float64] = probabilities * (gradient - mean)
    return result


def draw_options(
    log_probabilities: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """Return one option a choice, int64 ``[d]``, drawn from log-probabilities ``[d, k]``.

    The largest sum with independent Gumbel noise is distributed as the softmax; options of -inf
    are never drawn, however small the probabilities of the others are.
    """
    noisy = log_probabilities + rng.gumbel(size=log_probabilities.shape)
    return np.asarray(noisy.argmax(axis=1), dtype=np.int64)


def zero_options(space: SearchSpace) -> NDArray[np.bool_]:
    """Return bool ``[d, k]``: options that build nothing but zeros, such as DARTS's ``none``.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-201")
    >>> zero_options(space)[0].tolist(), space.choices[0].options[0]
    ([True, False, False, False, False], 'none')
    """
    read = np.zeros(space.mask.shape, dtype=bool)
    lets_through = np.zeros(space.mask.shape, dtype=bool)
    for index, plan in enumerate(space.plan):
        for combination, options in enumerate(np.ndindex(*plan.sizes)):
            graph = space.graph(index, combination)
            something = not graph or not isinstance(graph[-1], Zeros)
            for column, option in list(zip(plan.columns, options, strict=True))[: plan.reads]:
                read[column, option] = True
                lets_through[column, option] |= something
    return read & ~lets_through
