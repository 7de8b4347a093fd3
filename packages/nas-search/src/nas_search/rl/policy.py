"""Proximal policy optimisation of a controller: Schulman et al., arXiv:1707.06347, equation 7."""

from typing import Any

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray

from nas_search import candidates
from nas_search.rl.checks import check_finite
from nas_search.rl.controller import Controller
from nas_search.rl.rewards import ROUNDING
from nas_search.rl.states import load_adam, load_module, pack_adam, pack_module, restored_on_failure
from nas_spaces import InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["Experience", "Policy"]

# Of the logarithm of a ratio: beyond it float32 would overflow, and 0 x inf is no number.
LARGEST = 20.0
FIELDS = ("controller", "adam", "baseline", "mean", "square", "count")


@frozen(eq=False)
class Experience:
    """What a policy learns from.

    ``archs``: int64 ``[n, d]``. ``log_probabilities``: ``[n]``, of the policy that drew them, in
    nats. ``rewards``: ``[n]``. ``weights``: ``[n]``, what each row counts.
    """

    archs: NDArray[np.int64]
    log_probabilities: NDArray[np.float64]
    rewards: NDArray[np.float64]
    weights: NDArray[np.float64]


class Policy:
    """A controller that learns to draw what was rewarded.

    An update takes ``epochs`` Adam steps on

        - mean_i w_i min(r_i A_i, clip(r_i, 1 - clip, 1 + clip) A_i) - entropy * H,

    r_i the ratio of the row's probability now to that of when it was drawn, A_i its reward minus
    a baseline, H the entropy of all decisions of a row, mean over the rows, in nats. Rows are
    single actions: the ratio is of whole rows.

    What papers leave open, and what is done here:

    - The baseline is a moving mean of the batches' mean rewards (``decay``), as in Zoph and Le;
      `update` takes another one.
    - The logarithm of a ratio is at most 20, where a row that is replayed has become more probable
      by more than that.
    - Baseline and scale take in all rows of an update, replayed ones too.
    - ``standardise``: advantages are divided by the standard deviation of all rewards of the
      policy so far. Without it the entropy term and the reward have no common scale: an accuracy
      between 0.70 and 0.73 and one between 0.1 and 0.9 would want different coefficients.

    Args:
        space: the search space; dropped options are never drawn.
        rng: source of the initial weights; not used afterwards.
        hidden: units of the LSTM, 100 in FNAS.
        lr: of Adam, 3.5e-4 in Zoph et al., CVPR 2018.
        clip: of the ratio, 0.2.
        entropy: coefficient of the entropy, 1e-5 in Zoph et al., whose advantages are not
            standardised; where they are, that is next to nothing.
        decay: of the moving baseline, 0.95; in [0, 1).
        epochs: Adam steps of an update.
        standardise: see above.

    Raises:
        InputError: an argument out of range, or a space without choices.

    >>> from nas_spaces import published
    >>> space, rng = published.load("nas-bench-macro"), np.random.default_rng(0)
    >>> policy = Policy(space, rng=rng, lr=1e-2)
    >>> for batch in range(20):
    ...     archs, log_p = policy.controller.sample(10, rng=rng)  # [10, 8], [10]
    ...     rewards = (archs == 2).mean(axis=1)
    ...     learned = policy.update(Experience(archs, log_p, rewards, np.ones(10)))
    >>> archs, _ = policy.controller.sample(1000, rng=rng)
    >>> bool((archs == 2).mean() > 0.5)  # a third of the options at first
    True
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        rng: np.random.Generator,
        hidden: int = 100,
        lr: float = 3.5e-4,
        clip: float = 0.2,
        entropy: float = 1e-5,
        decay: float = 0.95,
        epochs: int = 4,
        standardise: bool = True,
    ) -> None:
        for name, value in (("lr", lr), ("clip", clip)):
            if not value > 0 or not np.isfinite(value):
                raise InputError(f"{name}={value} must be a finite number above 0")
        if not entropy >= 0 or not np.isfinite(entropy):
            raise InputError(f"entropy={entropy} must be a finite number, at least 0")
        if not 0 <= decay < 1:
            raise InputError(f"decay={decay} must be at least 0 and below 1")
        candidates.at_least(1, epochs=epochs)
        self.clip, self.entropy, self.decay = clip, entropy, decay
        self.epochs, self.standardise = epochs, standardise
        self.controller = Controller(space, rng=rng, hidden=hidden)
        self._adam = torch.optim.Adam(self.controller.parameters(), lr=lr, fused=True)
        self.baseline: float | None = None
        # Mean, sum of squared deviations and number of the rewards so far (Welford).
        self._mean, self._square, self._count = 0.0, 0.0, 0

    def update(self, experience: Experience, *, baseline: float | None = None) -> dict[str, float]:
        """Learn from rows.

        Args:
            experience: at least one row.
            baseline: what rewards are compared with; None for the moving mean, into which this
                batch goes first.

        Returns:
            ``baseline``, and ``entropy`` in nats, ``ratio`` and ``clipped``: means over rows at
            the last step, ``clipped`` the share of rows whose ratio was outside.

        Raises:
            InputError: no row, a row that the policy never draws, or what is not one finite number
                for each row; nothing is then learned.
        """
        rewards, n = experience.rewards, len(experience.archs)
        if not n:
            raise InputError("experience is empty; give at least one row to learn from")
        if np.isneginf(experience.log_probabilities).any():
            raise InputError("experience has a row of probability 0: it uses a dropped option")
        check_finite(
            n,
            rewards=rewards,
            log_probabilities=experience.log_probabilities,
            weights=experience.weights,
        )
        if baseline is not None and not np.isfinite(baseline):
            raise InputError(f"baseline={baseline} must be a finite number, or None")
        for reward in rewards.tolist():
            self._count += 1
            change = reward - self._mean
            self._mean += change / self._count
            self._square += change * (reward - self._mean)
        if baseline is None:
            mean = float(rewards.mean())
            before = mean if self.baseline is None else self.baseline
            baseline = self.baseline = self.decay * before + (1 - self.decay) * mean
        scale = float(np.sqrt(self._square / self._count)) if self.standardise else 1.0
        if scale <= ROUNDING * max(1.0, abs(self._mean)):
            scale = 1.0  # equal rewards differ by rounding
        advantages = (rewards - baseline) / scale

        rows = torch.as_tensor(experience.archs)
        drawn = torch.as_tensor(experience.log_probabilities, dtype=torch.float32)
        advantage = torch.as_tensor(advantages, dtype=torch.float32)
        weight = torch.as_tensor(experience.weights, dtype=torch.float32)
        for _ in range(self.epochs):
            log_p = self.controller.log_probabilities(rows)  # [n, d, k]
            now = log_p.gather(2, rows[..., None]).sum(dim=(1, 2))
            ratio = (now - drawn).clamp(max=LARGEST).exp()
            inside = ratio.clamp(1 - self.clip, 1 + self.clip)
            gain = torch.minimum(ratio * advantage, inside * advantage)
            # Dropped options add 0 and not -inf x 0.
            entropy = -(log_p.exp() * log_p.masked_fill(log_p.isinf(), 0.0)).sum(dim=(1, 2)).mean()
            loss = -(weight * gain).mean() - self.entropy * entropy
            self._adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._adam.step()
        return {
            "baseline": baseline,
            "entropy": float(entropy.detach()),
            "ratio": float(ratio.detach().mean()),
            "clipped": float((ratio != inside).double().mean()),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state: weights, moments of Adam, baseline and scale of rewards."""
        return {
            "controller": pack_module(self.controller),
            "adam": pack_adam(self._adam),
            "baseline": self.baseline,
            "mean": self._mean,
            "square": self._square,
            "count": self._count,
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of something else, or of a policy of other settings; nothing has
                then changed.
        """
        candidates.require(state, FIELDS, "Policy")
        with restored_on_failure(self):
            load_module(self.controller, state["controller"], "Policy")
            load_adam(self._adam, state["adam"], "Policy")
            self.baseline = state["baseline"]
            self._mean, self._square = float(state["mean"]), float(state["square"])
            self._count = int(state["count"])
