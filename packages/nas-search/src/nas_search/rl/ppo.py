"""Search by reinforcement learning: PPO, and FNAS with its critic and its experience buffer.

Liu et al., "FNAS: Uncertainty-Aware Fast Neural Architecture Search".
"""

from typing import Any, Literal

import numpy as np
from attrs import asdict, define, evolve, field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_search import candidates
from nas_search.repair import Repair
from nas_search.rl.batch import Batch, first_rows
from nas_search.rl.checks import rewards_of
from nas_search.rl.critic import Critic
from nas_search.rl.policy import Experience, Policy
from nas_search.rl.replay import ExperienceBuffer
from nas_search.rl.rewards import Accuracy, Reward, WeightedProduct, outlier_floor
from nas_search.rl.states import restored_on_failure
from nas_spaces import FeasibleSet, InputError, SearchSpace
from nas_spaces.protocols import State

__all__ = ["PPO", "Counts"]

FIELDS = ("rng", "policy", "critic", "buffer", "told", "told_rewards", "counts", "pending")
# Rows of the policy whose mean value is the critic's baseline.
EXPECTED = 200
# As many times a batch is drawn in search of a row that was not measured.
SEARCHED = 20


@frozen
class Counts:
    """Where the rewards of a search came from.

    ``measured``: networks told. ``known``: rows of the policy that were told before. ``trusted``:
    rows answered by the critic. ``replayed``: rows from the buffer. ``stuck``: batches for which
    the policy drew nothing new, so that a random row was measured. ``certain``: networks asked for
    although the critic was certain of them, because resampling brought too few that it was not.
    """

    measured: int = 0
    known: int = 0
    trusted: int = 0
    replayed: int = 0
    stuck: int = 0
    certain: int = 0


@define(eq=False)
class PPO:
    """Draws architectures from a policy that learns to draw what is rewarded, under limits.

    `ask` draws a batch and returns those rows of it that have to be measured: at least one, each
    network once. Rows measured before are answered from memory, and wait with their rewards until
    `tell`, where the policy learns from all rows of the batch at once. All of it is saved.

    With ``critic`` and ``buffer`` this is FNAS:

    - A new row of which the critic is certain is answered by its value. At most half of a batch's
      new networks are, however many rows build them; further ones that it is certain of are set
      aside, and others are drawn in their place that it is not certain of, from ``resampled`` rows
      for each that is missing. What is then missing comes from the rows set aside and is measured.
      ``pick`` says which: the paper says nothing about it. ``"promising"`` takes the largest V + U,
      ``"uncertain"`` the largest U, ``"drawn"`` the first that were drawn.
    - Rows picked so, out of ``resampled`` draws for each that was missing, are learned from as if
      the policy had simply drawn them: with its log-probability, so that their ratio is 1 at the
      first step, although a row is picked more often the more the critic promises of it. That
      departs from equation 7 of PPO, whose ratios are of what was sampled. The chance of being
      picked has no closed form (a maximum over draws, by a critic that changes), so that there is
      nothing to weigh by. What it costs: the gradient is that of a policy that leans to where the
      critic promises most; the rewards in it were measured.
    - Part of a batch is replayed from the buffer, in the place of rows that would be drawn.
    - The critic and the buffer only learn from what was measured.

    Rewards that are outliers among those of all measured networks count as `outlier_floor`, for
    the policy and for the critic, so that a candidate that failed does not decide their scale.

    Rows outside the limits are brought inside by `Repair`; their log-probabilities, like those of
    rows told that it did not draw, are those of the policy now. Where the policy draws nothing
    new 20 batches long, a random feasible row is measured.

    Args:
        space: the search space, with at least one choice.
        rng: the generator that everything is drawn from, first weights included.
        feasible: the limits; None for the whole space.
        reward: of what is told, and of the rows that `search` measures (those that stand for
            their networks, within the limits); accuracy by default.
        batch: rows of an update; the paper gives no number.
        policy: of the same space, live options included; made with default settings where it is
            not given.
        critic: FNAS's critic; None measures every new row.
        buffer: FNAS's experience buffer; None replays nothing.
        budget: measured architectures after which the importance weights of the buffer are whole
            (beta = 1).
        baseline: what rewards are compared with: ``"moving"``, the policy's moving mean;
            ``"critic"``, the mean value of rows that the policy draws now, from as soon as the
            critic is trusted. A value of the row itself would be no baseline: it depends on what
            was drawn.
        pick: see above.
        resampled: see above; the paper resamples without a bound.

    Raises:
        InputError: an argument out of range, or parts that are of another space.

    >>> from nas_spaces import published
    >>> space, rng = published.load("nas-bench-macro"), np.random.default_rng(0)
    >>> fnas = {"critic": Critic(space, rng=rng), "buffer": ExperienceBuffer(space)}
    >>> searcher = PPO(space, rng=rng, budget=100, **fnas)  # without these two: plain PPO
    >>> errors = []
    >>> while len(errors) < 100:
    ...     archs = searcher.ask()                                  # int64 [n, 8], 1 <= n <= 10
    ...     values = (archs != 2).mean(axis=1)                      # what you measure, [n]
    ...     searcher.tell(archs, values[:, None])
    ...     errors.extend(values.tolist())
    >>> bool(np.mean(errors[-20:]) < np.mean(errors[:20]))
    True
    >>> searcher.counts.measured == len(errors), searcher.counts.trusted > 0
    (True, True)
    """

    space: SearchSpace
    rng: np.random.Generator = field(kw_only=True)
    feasible: FeasibleSet | None = field(default=None, kw_only=True)
    reward: Reward = field(factory=Accuracy, kw_only=True)
    batch: int = field(default=10, kw_only=True)
    policy: Policy = field(kw_only=True)
    critic: Critic | None = field(default=None, kw_only=True)
    buffer: ExperienceBuffer | None = field(default=None, kw_only=True)
    budget: int = field(default=1000, kw_only=True)
    baseline: Literal["moving", "critic"] = field(default="moving", kw_only=True)
    pick: Literal["promising", "uncertain", "drawn"] = field(default="promising", kw_only=True)
    resampled: int = field(default=20, kw_only=True)
    counts: Counts = field(factory=Counts, init=False)
    _allowed: FeasibleSet = field(init=False, repr=False)
    _repair: Repair = field(init=False, repr=False)
    # Key of a network -> the reward that was told first.
    _told: dict[bytes, float] = field(factory=dict, init=False, repr=False)
    _pending: Batch = field(init=False, repr=False)

    @policy.default
    def _default_policy(self) -> Policy:
        return Policy(self.space, rng=self.rng)

    def __attrs_post_init__(self) -> None:
        candidates.at_least(1, batch=self.batch, budget=self.budget, resampled=self.resampled)
        if self.pick not in ("promising", "uncertain", "drawn"):
            raise InputError(f"pick={self.pick!r} is unknown; valid: drawn, promising, uncertain")
        if self.baseline not in ("moving", "critic"):
            raise InputError(f"baseline={self.baseline!r} is unknown; valid: critic, moving")
        if self.baseline == "critic" and self.critic is None:
            raise InputError("baseline='critic' needs a critic; give one, or choose 'moving'")
        self._allowed = candidates.check_feasible(self.space, self.feasible)
        if isinstance(self.reward, WeightedProduct):
            self.reward.check_target(self._allowed)
        self._repair = Repair(self._allowed)
        candidates.check_part("policy", self.policy.controller.space, self.space)
        for name, part in (("critic", self.critic), ("buffer", self.buffer)):
            if part is not None:
                candidates.check_part(name, part.space, self.space, live=False)
        self._pending = Batch.empty(self.space.num_choices)

    def ask(self) -> NDArray[np.int64]:
        """Return rows to measure, int64 ``[n, d]``, 1 <= n <= batch; none where none is left.

        Raises:
            InputError: no feasible row was found at all.
        """
        replayed = 0 if self.buffer is None else self.buffer.replayed(self.batch)
        batch, aside = self._assemble(self.batch - replayed)
        missing = self.batch - replayed - len(batch)
        there = batch.keys_of(batch.open)
        others = np.array([key not in there for key in aside.keys], dtype=np.bool_)
        if missing and others.any():
            batch = batch.join(self._to_measure(aside.take(np.flatnonzero(others)), missing))
        batch = self._balance(self._reopened(batch))
        if not len(batch.open):
            new = self._find_new()
            if not len(new):
                return np.zeros((0, self.space.num_choices), dtype=np.int64)
            kept = np.arange(min(len(batch), self.batch - replayed - 1))
            batch = batch.take(kept).join(new)
        self._pending = batch
        return batch.archs[first_rows(batch.keys, batch.open)]

    def _assemble(self, size: int) -> tuple[Batch, Batch]:
        """Return up to ``size`` rows of the policy, and certain ones that were too many."""
        drawn = self._answered(self._draw(size))
        # Surplus rows that the critic is certain of make room for others.
        surplus = np.flatnonzero(drawn.trusted)[size // 2 :]
        aside = drawn.take(surplus)
        batch = drawn.take(np.setdiff1d(np.arange(len(drawn)), surplus))
        missing = size - len(batch)
        if missing:
            more = self._answered(self._draw(self.resampled * missing))
            aside = aside.join(more.take(np.flatnonzero(more.trusted)))
            # Rows that are known already would bring nothing to measure.
            batch = batch.join(more.take(more.open[:missing]))
        return batch, aside

    def _answered(self, drawn: Batch) -> Batch:
        """Return rows with the critic's values where it is certain of new ones."""
        new = drawn.open
        if self.critic is None or not len(new):
            return drawn
        value, uncertainty = self.critic.predict(drawn.archs[new])
        certain = self.critic.trusts(uncertainty)
        rewards, trusted = drawn.rewards.copy(), drawn.trusted.copy()
        rewards[new[certain]], trusted[new[certain]] = value[certain], True
        return evolve(drawn, rewards=rewards, trusted=trusted)

    def _draw(self, n: int) -> Batch:
        """Return ``n`` feasible rows of the policy (fewer where some cannot be repaired)."""
        archs, log_p = self.policy.controller.sample(n, rng=self.rng)
        inside = self._allowed.contains(archs)
        if not inside.all():
            mended = self._repair(archs[~inside], rng=self.rng)
            again = self.policy.controller.log_probability(mended)
            archs = np.concatenate([archs[inside], mended])
            log_p = np.concatenate([log_p[inside], again])
        return self._known(archs, log_p)

    def _known(self, archs: NDArray[np.int64], log_p: NDArray[np.float64]) -> Batch:
        """Return rows with the rewards that were told, NaN for the others."""
        keys = candidates.keys(self.space, archs)
        rewards = np.array([self._told.get(key, np.nan) for key in keys], dtype=np.float64)
        return Batch(archs, log_p, rewards, keys, np.zeros(len(archs), dtype=np.bool_))

    def _to_measure(self, certain: Batch, n: int) -> Batch:
        """Return the ``n`` rows that are most worth measuring, each network once."""
        assert self.critic is not None
        rows = certain.take(np.array(first_rows(certain.keys, range(len(certain)))))
        if self.pick == "drawn":
            best = rows.take(np.arange(min(n, len(rows))))
        else:
            value, uncertainty = self.critic.predict(rows.archs)
            worth = uncertainty if self.pick == "uncertain" else value + uncertainty
            best = rows.take(np.argsort(-worth, kind="stable")[:n])
        self.counts = evolve(self.counts, certain=self.counts.certain + len(best))
        return evolve(
            best, rewards=np.full(len(best), np.nan), trusted=np.zeros(len(best), dtype=np.bool_)
        )

    def _reopened(self, batch: Batch) -> Batch:
        """Return a batch in which the critic answers for no network that is measured."""
        wanted = batch.keys_of(batch.open)
        again = np.array([key in wanted for key in batch.keys], dtype=np.bool_)
        return evolve(
            batch,
            rewards=np.where(again, np.nan, batch.rewards),
            trusted=batch.trusted & ~again,
        )

    def _balance(self, batch: Batch) -> Batch:
        """Return a batch of whose new networks at most half are the critic's."""
        trusted = np.flatnonzero(batch.trusted)
        excess = len(batch.keys_of(trusted)) - len(batch.keys_of(batch.open))
        if excess <= 0:
            return batch
        more = self._to_measure(batch.take(trusted), (excess + 1) // 2)
        chosen = set(more.keys)
        kept = [row for row, key in enumerate(batch.keys) if key not in chosen]
        return batch.take(np.array(kept, dtype=np.int64)).join(more)

    def _find_new(self) -> Batch:
        """Return one row that was not measured: the policy's, a random one, or none."""
        drawn = self._draw(SEARCHED * self.batch)
        if len(drawn.open):
            return drawn.take(drawn.open[:1])
        archs = candidates.fresh(self._allowed, 1, set(self._told), rng=self.rng)
        self.counts = evolve(self.counts, stuck=self.counts.stuck + len(archs))
        return self._known(archs, self.policy.controller.log_probability(archs))

    def tell(self, archs: ArrayLike, values: ArrayLike) -> None:
        """Take values ``[n, m]`` of rows ``[n, d]``, its own or foreign ones; lower is better.

        The critic learns from them, then the policy from them and all rows that waited. A network
        told before keeps its first reward. Rows that it proposed and that are not told are
        forgotten.

        Raises:
            InputError: rows that do not belong to the space, values of another shape or not
                finite, a reward that is not finite.
        """
        rows, told = candidates.check_told(self.space, archs, values)
        # Of the rows that `search` measures: others of the same network may cost more.
        stand_ins, canonical, _ = candidates.stand_ins(self._allowed, rows)
        rewards = rewards_of(self.reward, stand_ins, told)
        keys = [row.tobytes() for row in canonical]
        new = [row for row in first_rows(keys, range(len(keys))) if keys[row] not in self._told]
        for index in new:
            self._told[keys[index]] = float(rewards[index])
        if self.critic is not None and new:
            self.critic.learn(rows[new], rewards[new])
        waiting = self._pending
        self._pending = Batch.empty(self.space.num_choices)
        answered = [self._told.get(key, np.nan) for key in waiting.keys]
        known = np.isfinite(answered)
        trusted = waiting.trusted & ~known
        waiting = evolve(
            waiting, rewards=np.where(known, answered, waiting.rewards), trusted=trusted
        )
        own = set(waiting.keys)
        foreign = np.array([i for i, key in enumerate(keys) if key not in own], dtype=int)
        live = foreign[self.space.mask[np.arange(rows.shape[1]), rows[foreign]].all(axis=1)]
        batch = waiting.take(np.flatnonzero(np.isfinite(waiting.rewards)))
        batch = batch.join(
            self._known(rows[live], self.policy.controller.log_probability(rows[live]))
        )
        told_now = {keys[index] for index in new}
        measured = np.array([key in told_now for key in batch.keys], dtype=np.bool_)
        self.counts = evolve(
            self.counts,
            measured=self.counts.measured + len(new),
            known=self.counts.known + int((~measured & ~batch.trusted).sum()),
            trusted=self.counts.trusted + int(batch.trusted.sum()),
        )
        if len(batch):
            self._learn(batch, measured)

    def _learn(self, batch: Batch, measured: NDArray[np.bool_]) -> None:
        """Update the policy by a batch and what is replayed with it; keep what was measured."""
        floor = outlier_floor(np.array(list(self._told.values())))
        learned = Experience(
            batch.archs,
            batch.log_probabilities,
            np.maximum(batch.rewards, floor),
            np.ones(len(batch)),
        )
        if self.buffer is not None:
            beta = min(self.counts.measured / self.budget, 1.0)
            # Batches may be short; what is replayed keeps to its share of what is learned from.
            replayed = min(self.buffer.replayed(self.batch), self.buffer.beside(len(batch)))
            again, weights = self.buffer.draw(replayed, beta, rng=self.rng)
            learned = Experience(
                np.concatenate([learned.archs, self.buffer.archs[again]]),
                np.concatenate([learned.log_probabilities, self.buffer.log_probabilities[again]]),
                np.concatenate([learned.rewards, np.maximum(self.buffer.rewards[again], floor)]),
                np.concatenate([learned.weights, weights]),
            )
            self.counts = evolve(self.counts, replayed=self.counts.replayed + len(again))
        self.policy.update(learned, baseline=self._expected())
        if self.buffer is not None:
            for row in first_rows(batch.keys, np.flatnonzero(measured)):
                self.buffer.add(
                    batch.archs[row], float(batch.log_probabilities[row]), float(batch.rewards[row])
                )

    def _expected(self) -> float | None:
        """Return the reward that the critic expects of the policy, None for the moving mean."""
        if self.baseline == "moving" or self.critic is None or len(self.critic) < self.critic.least:
            return None
        drawn = self._draw(EXPECTED)
        if not len(drawn):
            return None
        value, _ = self.critic.predict(drawn.archs)
        return float(value.mean())

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state.

        ``rng``: the generator's. ``policy``, ``critic``, ``buffer``: their states; None where
        there is none. ``told``, ``told_rewards``: canonical rows ``[t, d]`` and ``[t]``.
        ``counts``. ``pending``: rows that wait for `tell`, with their log-probabilities, rewards
        (0 where it is to be measured, see ``open``) and whether the critic gave them.
        """
        missing = np.isnan(self._pending.rewards)
        return {
            "rng": self.rng.bit_generator.state,
            "policy": self.policy.state_dict(),
            "critic": None if self.critic is None else self.critic.state_dict(),
            "buffer": None if self.buffer is None else self.buffer.state_dict(),
            "told": candidates.pack_keys(set(self._told), self.space.num_choices),
            "told_rewards": np.array([self._told[key] for key in sorted(self._told)], dtype=float),
            "counts": asdict(self.counts),
            "pending": {
                "archs": self._pending.archs.copy(),
                "log_probabilities": self._pending.log_probabilities.copy(),
                "rewards": np.where(missing, 0.0, self._pending.rewards),
                "open": missing,
                "trusted": self._pending.trusted.copy(),
            },
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back; ``rng`` is set to the saved state.

        Raises:
            InputError: the state of something else, or of a search with other parts; nothing has
                then changed, in the parts either.
        """
        candidates.require(state, FIELDS, "PPO")
        for name, part in (("critic", self.critic), ("buffer", self.buffer)):
            if (state[name] is None) != (part is None):
                saved, here = ("without", "has") if state[name] is None else ("with", "has no")
                raise InputError(
                    f"{name}: the state was saved {saved} one, this searcher {here} one; make it "
                    "with the same parts as before"
                )
        told = self.space.check(state["told"])
        rewards = np.array(state["told_rewards"], dtype=np.float64)
        if rewards.shape != (len(told),):
            raise InputError(f"state has {len(told)} rows told and rewards of {rewards.shape}")
        pending = state["pending"]
        archs = self.space.check(pending["archs"])
        fields = ("archs", "log_probabilities", "rewards", "open", "trusted")
        candidates.require(pending, fields, "PPO's rows that wait")
        lengths = {name: len(pending[name]) for name in fields}
        if len(set(lengths.values())) > 1:
            raise InputError(f"state has rows that wait of different lengths: {lengths}")
        # States of versions up to 0.6.4 have no such count as ``certain``.
        counts = tuple(name for name in asdict(Counts()) if name != "certain")
        candidates.require(state["counts"], counts, "PPO's counts")
        with restored_on_failure(self):
            self.policy.load_state_dict(state["policy"])
            if self.critic is not None:
                self.critic.load_state_dict(state["critic"])
            if self.buffer is not None:
                self.buffer.load_state_dict(state["buffer"])
            candidates.restore_rng(self.rng, state["rng"])
            self._told = {
                row.tobytes(): float(reward) for row, reward in zip(told, rewards, strict=True)
            }
            self.counts = Counts(**state["counts"])
            waiting = np.array(pending["rewards"], dtype=np.float64)
            waiting[np.asarray(pending["open"], dtype=np.bool_)] = np.nan
            self._pending = Batch(
                archs.copy(),
                np.array(pending["log_probabilities"], dtype=np.float64),
                waiting,
                candidates.keys(self.space, archs),
                np.array(pending["trusted"], dtype=np.bool_),
            )
