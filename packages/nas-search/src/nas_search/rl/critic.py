"""FNAS's uncertainty-aware critic: rewards that are known well enough are not measured.

Liu et al., "FNAS: Uncertainty-Aware Fast Neural Architecture Search", section 3.2. Ensembles:
Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep
Ensembles", NeurIPS 2017.
"""

from collections import deque
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from nas_search import candidates
from nas_search.rl.checks import check_finite, needs_choices
from nas_search.rl.perceptrons import Perceptrons
from nas_search.rl.rewards import outlier_floor, spread
from nas_search.rl.states import load_adam, load_module, pack_adam, pack_module, restored_on_failure
from nas_spaces import InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["Critic"]

FIELDS = (
    "rng",
    "tokens",
    "members",
    "networks",
    "adam",
    "archs",
    "rewards",
    "residuals",
    "recent",
)
FIRST = "weights.0"  # [networks, tokens, hidden]


class Critic:
    """Predicts the reward of an architecture (V), and how far that prediction is off (U).

    Both are four-layer perceptrons over the concatenated one-hot tokens of a row; U ends in a
    softplus. They learn from measured rewards only: L_V = |V - R| and
    L_U = |U - stop_gradient(L_V)|. An architecture whose U is above a threshold has to be
    measured; for the others V is trusted.

    With several ``members`` there are as many networks V with weights and batches of their own
    and none for U: V is their mean, U their standard deviation, which is small where what was
    measured leaves no room to differ. That departs from the paper, whose U learns how far off V
    was at other architectures.

    What the paper leaves open, and what is done here:

    - Rows that build the same network are one to it: it sees the canonical row. What is learned
      from one of them is known of all, in fewer rewards.
    - The stop-gradient is not printed; without it V would learn to be as wrong as U says.
    - ``residuals``: a V that has learned from a row knows it, so that U would learn that it is
      certain everywhere. ``"first"`` takes as the target of U how far V was off when the row came
      in, before it learned from it; ``"current"`` is the formula as printed.
    - Rewards are standardised by mean and standard deviation of what was measured, so that
      learning does not depend on their scale; outliers count as `outlier_floor`. V and U are given
      in units of the reward.
    - After each new batch both take ``steps`` Adam steps on random rows of all measured so far.
    - ``threshold``: the paper gives no value. None is the running median of U over the last
      ``window`` proposals, by which half of them are trusted whatever the scale of U.
    - Nothing is trusted until ``least`` rewards were measured, not all of them equal: before, they
      have no scale that V and U could be given in.

    Args:
        space: the search space, with at least one choice.
        rng: source of the initial weights and of the random rows.
        hidden: units of a layer, 200.
        lr: of Adam.
        steps: Adam steps after each batch of measured rewards.
        batch: rows of a step.
        members: networks V, see above; 1 is the paper's critic.
        residuals: target of U, see above; without effect with several members.
        threshold: of U, in units of the reward; None for the running median.
        window: proposals that the running median is of.
        least: measured rewards before anything is trusted.

    Raises:
        InputError: an argument out of range, or a space without choices.

    >>> from nas_spaces import published
    >>> space, rng = published.load("nas-bench-macro"), np.random.default_rng(0)
    >>> critic = Critic(space, rng=rng)
    >>> archs = space.sample(100, rng=rng)
    >>> losses = critic.learn(archs, (archs == 2).mean(axis=1))
    >>> new = np.array([[0] * 8, [2] * 8])
    >>> value, uncertainty = critic.predict(new)                  # V, U: [2], [2]
    >>> bool(value[0] < value[1]), int(critic.trusts(uncertainty).sum())
    (True, 1)
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        rng: np.random.Generator,
        hidden: int = 200,
        lr: float = 1e-3,
        steps: int = 20,
        batch: int = 32,
        members: int = 1,
        residuals: Literal["first", "current"] = "first",
        threshold: float | None = None,
        window: int = 100,
        least: int = 20,
    ) -> None:
        needs_choices(space)
        candidates.at_least(
            1, hidden=hidden, steps=steps, batch=batch, members=members, window=window, least=least
        )
        if not lr > 0 or not np.isfinite(lr):
            raise InputError(f"lr={lr} must be a finite number above 0")
        if residuals not in ("first", "current"):
            raise InputError(f"residuals={residuals!r} is unknown; valid: current, first")
        if threshold is not None and not threshold >= 0:
            raise InputError(f"threshold={threshold} must be at least 0, or None for the median")
        self.space, self.rng = space, rng
        self.steps, self.batch, self.residuals = steps, batch, residuals
        self.threshold, self.least, self.hidden = threshold, least, hidden
        self.members = members
        self._offsets = np.concatenate([[0], np.cumsum(space.num_options)[:-1]]).astype(np.int64)
        self._inputs = sum(space.num_options)
        self._networks = Perceptrons(self._count, self._inputs, hidden, rng)
        self._adam = torch.optim.Adam(self._networks.parameters(), lr=lr, fused=True)
        self._archs = np.zeros((0, space.num_choices), dtype=np.int64)
        self._rewards = np.zeros(0)
        # How far V was off when each reward came in.
        self._residuals = np.zeros(0)
        self._recent: deque[float] = deque(maxlen=window)

    def __len__(self) -> int:
        """Return how many measured rewards it has learned from."""
        return len(self._rewards)

    def predict(self, archs: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return V and U ``[n]`` of rows ``[n, d]``, both in units of the reward."""
        mean, std = self._scale()
        hot = self._one_hot(self.space.canonical(archs))
        with torch.no_grad():
            answers = self._networks(hot.expand(self._count, -1, -1))
            value = answers[: self.members].double().mean(dim=0)
            if self.members == 1:
                uncertainty = functional.softplus(answers[1]).double()
            else:
                uncertainty = answers.double().std(dim=0, correction=0)
        return value.numpy() * std + mean, uncertainty.numpy() * std

    def trusts(self, uncertainty: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return for which of the proposals ``[n]``, given their U, the value is trusted.

        They go into the running median first.
        """
        self._recent.extend(uncertainty.tolist())
        if len(self) < self.least or not spread(self._floored()) or not len(uncertainty):
            return np.zeros(len(uncertainty), dtype=np.bool_)
        threshold = self.threshold
        if threshold is None:
            threshold = float(np.median(self._recent))
        trusted: NDArray[np.bool_] = uncertainty <= threshold
        return trusted

    def learn(self, archs: NDArray[np.int64], rewards: NDArray[np.float64]) -> dict[str, float]:
        """Take measured rewards ``[n]`` of rows ``[n, d]``, and learn from all so far.

        Returns:
            ``value_loss``, and with one member ``uncertainty_loss``, of the last step, in units of
            the reward; nothing where there is nothing to learn from.

        Raises:
            InputError: other than one finite reward for each row.
        """
        check_finite(len(archs), rewards=rewards)
        if len(archs):
            self._archs = np.concatenate([self._archs, self.space.canonical(archs)])
            self._rewards = np.concatenate([self._rewards, rewards])
            # By the scale that the new rewards are part of: before the first there is none.
            value, _ = self.predict(archs)
            residuals = np.abs(value - self._floored()[-len(archs) :])
            self._residuals = np.concatenate([self._residuals, residuals])
        if not len(self):
            return {}
        mean, std = self._scale()
        target = torch.as_tensor((self._floored() - mean) / std, dtype=torch.float32)
        first = torch.as_tensor(self._residuals / std, dtype=torch.float32)
        hot = self._one_hot(self._archs)
        size = (self.members, min(self.batch, len(self)))
        for _ in range(self.steps):
            drawn = torch.as_tensor(self.rng.integers(len(self), size=size))  # [members, batch]
            answers = self._networks(hot[drawn].expand(self._count, -1, -1))
            off = (answers[: self.members] - target[drawn]).abs()
            losses = {"value_loss": off.mean(dim=1)}
            if self.members == 1:
                wanted = first[drawn] if self.residuals == "first" else off.detach()
                guess = functional.softplus(answers[1:])
                losses["uncertainty_loss"] = (guess - wanted).abs().mean(dim=1)
            self._adam.zero_grad()
            torch.cat(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            self._adam.step()
        return {name: float(loss.detach().mean()) * std for name, loss in losses.items()}

    @property
    def _count(self) -> int:
        """Networks V, and behind a single one that of U."""
        return self.members + (self.members == 1)

    def _floored(self) -> NDArray[np.float64]:
        """Return the measured rewards, outliers lifted to the others."""
        lifted: NDArray[np.float64] = np.maximum(self._rewards, outlier_floor(self._rewards))
        return lifted

    def _scale(self) -> tuple[float, float]:
        """Return mean and standard deviation of the measured rewards, 1 where they have none."""
        rewards = self._floored()
        return float(rewards.mean()) if len(self) else 0.0, spread(rewards) or 1.0

    def _one_hot(self, archs: NDArray[np.int64]) -> torch.Tensor:
        hot = np.zeros((len(archs), self._inputs), dtype=np.float32)
        np.put_along_axis(hot, archs + self._offsets, 1.0, axis=1)
        return torch.as_tensor(hot)

    def inherit(self, other: "Critic") -> int:
        """Begin with what a critic of another search knows; return how many tokens it shares.

        A token is an option of a choice, by both names. The weights of the input that a shared
        token feeds are copied, as are all layers behind; other tokens keep their initial weights.
        Rewards that the other critic measured are not taken: they may be of another task. Its
        values are standardised, so that a task with other rewards has use for them; they are
        trusted as soon as ``least`` rewards of this search are known.

        Raises:
            InputError: this critic has learned already, the other one has other layers, or no
                token is shared.
        """
        if len(self):
            raise InputError(
                f"this critic has learned from {len(self)} rewards; inherit before the search"
            )
        own, theirs = _tokens(self.space), _tokens(other.space)
        places = [(own[token], theirs[token]) for token in own if token in theirs]
        if not places:
            raise InputError(
                f"spaces {self.space.name!r} and {other.space.name!r} share no option of a choice "
                "of the same name; nothing can be inherited"
            )
        for name, mine, its in (
            ("hidden", self.hidden, other.hidden),
            ("members", self.members, other.members),
        ):
            if mine != its:
                raise InputError(
                    f"{name}={mine} here and {its} in the critic to inherit from; make this one "
                    "with the same"
                )
        here, there = (list(column) for column in zip(*places, strict=True))
        kept = self._networks.state_dict()[FIRST].clone()
        kept[:, here] = other._networks.state_dict()[FIRST][:, there]
        self._networks.load_state_dict({**other._networks.state_dict(), FIRST: kept})
        return len(places)

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: generator, tokens, networks, Adam, all rewards, recent U."""
        return {
            "rng": self.rng.bit_generator.state,
            "tokens": [list(token) for token in _tokens(self.space)],
            "members": self.members,
            "networks": pack_module(self._networks),
            "adam": pack_adam(self._adam),
            "archs": self._archs.copy(),
            "rewards": self._rewards.copy(),
            "residuals": self._residuals.copy(),
            "recent": list(self._recent),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back; ``rng`` is set to the saved state.

        Raises:
            InputError: the state of something else, or of a critic of another space or settings;
                nothing has then changed.
        """
        candidates.require(state, FIELDS, "Critic")
        saved = [tuple(token) for token in state["tokens"]]
        if saved != list(_tokens(self.space)):
            other = sorted(set(saved) ^ set(_tokens(self.space)))
            raise InputError(
                f"this is the state of a critic of other tokens: {other[0] if other else saved[0]} "
                "is not the same in both; to take what both share, use inherit"
            )
        archs = self.space.check(state["archs"])
        rewards, residuals = (
            np.array(state[name], dtype=np.float64) for name in ("rewards", "residuals")
        )
        if not len(archs) == len(rewards) == len(residuals):
            raise InputError(
                f"state has {len(archs)} rows, {len(rewards)} rewards and {len(residuals)} "
                "residuals; expected as many of each"
            )
        if state["members"] != self.members:
            raise InputError(
                f"this is the state of a critic of members={state['members']}, here "
                f"{self.members}; make it with the same"
            )
        with restored_on_failure(self):
            load_module(self._networks, state["networks"], "Critic")
            load_adam(self._adam, state["adam"], "Critic")
            candidates.restore_rng(self.rng, state["rng"])
            self._archs, self._rewards, self._residuals = archs.copy(), rewards, residuals
            self._recent = deque(map(float, state["recent"]), maxlen=self._recent.maxlen)


def _tokens(space: SearchSpace) -> dict[tuple[str, str], int]:
    """Return the input of each token, by the names of its choice and its option."""
    pairs = [(choice.name, repr(option)) for choice in space.choices for option in choice.options]
    return {pair: place for place, pair in enumerate(pairs)}
