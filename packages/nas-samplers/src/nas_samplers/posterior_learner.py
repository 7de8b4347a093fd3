"""A distribution learnt from how likely its architectures make held-out labels: PARSEC, FP-NAS."""

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_samplers.adam import Adam
from nas_samplers.cost_hinge import CostHinge
from nas_samplers.entropy_sampler import EntropySampler
from nas_samplers.micro_batches import split_batch
from nas_samplers.settings import check_settings
from nas_samplers.validators import check_number
from nas_spaces import InputError, Table
from nas_spaces.protocols import State
from nas_spaces.torch import Norms, Supernet
from nas_spaces.torch.wiring import Values

__all__ = ["PosteriorLearner", "held_out_losses", "posterior_weights"]


def posterior_weights(losses: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Return softmax(-losses / temperature), float64 ``[K]``: L_k / sum L of likelihoods L.

    The likelihood of a batch is a product over its images, so that its logarithm is the number of
    images times the mean: weights from it are one-hot for any batch worth the name. The papers do
    not say what they take; ours is the mean, with a temperature (1 / images gives the product).
    All in logarithms: however small likelihoods are, their ratios stay.

    Args:
        losses: float ``[K]``, mean negative log-likelihood [nats] of each row.
        temperature: above 0.

    Raises:
        InputError: no losses, losses that are not finite, or a temperature out of range.

    >>> posterior_weights([2.3, 1.9, 2.0]).round(3).tolist()
    [0.26, 0.388, 0.351]
    >>> posterior_weights([4000.0, 4000.0]).tolist()
    [0.5, 0.5]
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or not values.size or not np.isfinite(values).all():
        raise InputError(
            f"losses={values.tolist()} must be finite numbers, one a row: mean negative "
            "log-likelihoods; a network that diverged has none"
        )
    check_number("temperature", temperature, above=0)
    with np.errstate(over="ignore"):
        # A tiny temperature may take a difference to -inf, whose weight is 0 as it should be.
        logits = (values.min() - values) / temperature
    result: NDArray[np.float64] = softmax(logits)
    return result


@torch.no_grad()
def held_out_losses(
    network: Supernet,
    archs: NDArray[np.int64],
    images: Tensor,
    labels: Tensor,
    micro_batch: int | None = None,
) -> NDArray[np.float64]:
    """Return the mean negative log-likelihood [nats] of each row, float64 ``[K]``.

    Norms use the statistics of the batch, or of its parts; dropout is off; nothing is written.
    Rows that come twice are run once.

    Args:
        network: the supernet.
        archs: rows int ``[K, d]``.
        images: ``[b, c, h, w]``.
        labels: ``[b]``.
        micro_batch: images that pass at once; None for all.
    """
    distinct, which = np.unique(archs, axis=0, return_inverse=True)
    totals: list[Tensor] = []
    for arch in distinct:
        total = torch.zeros((), device=images.device)
        for part in split_batch(len(images), micro_batch):
            values: Values = {-1: images[part]}
            for index, combination in enumerate(network.combinations(arch)):
                values = network.advance(values, index, combination, Norms.of_batch())
            loss = F.cross_entropy(network.wiring.output(values).float(), labels[part])
            total += loss * (len(labels[part]) / len(labels))
        totals.append(total)
    # One read for all: each would wait for the device.
    result: NDArray[np.float64] = torch.stack(totals).double().cpu().numpy()[which.reshape(-1)]
    return result


class PosteriorLearner:
    """Moves a distribution towards the rows that explain held-out images best.

    Minimised is -log((1/K) sum_k P(y | x, A_k)) + beta log C over the rows A_k of the training
    step, which were drawn from the distribution (FP-NAS, equations 3 to 8, after PARSEC). Its
    derivative is sum_k m_k grad(-log P(A_k)), m_k = L_k / sum L - beta C_k / sum C, with
    likelihoods L of held-out images (`posterior_weights`) and the excess cost C (`CostHinge`).
    Adam moves the logits by it, at a constant rate.

    The weights m_k are centred: their mean is taken from each. In expectation that changes
    nothing, since the mean of grad log P is 0. Without it the m_k sum to 1 - beta instead of 0,
    so that whatever happens to be drawn is reinforced: with likelihoods that are all equal the
    entropy falls, for no reason. A centred step needs two rows to compare.

    The rows must be draws from the distribution: give the phase ``learn_from`` the sampler's
    warm-up at least. Weights, their gradients and the statistics of norms are not touched, and
    dropout is off. Computed in float32; weights and logits in float64.

    The end is the most probable feasible row, see `likely_row`.

    Args:
        sampler: draws the rows, and has the distribution.
        lr: of Adam, above 0 (FP-NAS 0.016, constant).
        betas: of Adam.
        temperature: of the posterior weights, above 0; see `posterior_weights`.
        cost: what a cost above its target weighs; None leaves it out.
        paper_exact: leave the weights as printed, not centred. One row a step is then enough;
            where the paper's number of rows is wanted too, ``EntropyRows(least=1)``.
        joint_from: training step from which groups are joint (FP-NAS switches after 80 of 315
            epochs); None leaves the distribution as it is. The first update after so many steps
            switches before it does anything else: the rows were drawn from the same probabilities.
            New parameters begin with moments of 0.
        steps: training steps in all, where they are known; only to check ``joint_from``.

    Raises:
        InputError: an argument out of range; a target that the space does not attain; a sampler
            that may draw a single row a step, without ``paper_exact``; a switch of groups that
            are too large, that are joint already, or after the end.

    >>> from nas_samplers import Distribution
    >>> from nas_spaces import published
    >>> space = published.load("digits-mobile")
    >>> supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    >>> sampler = EntropySampler(Distribution(space), rng=np.random.default_rng(0))
    >>> learner = PosteriorLearner(sampler)
    >>> images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    >>> sorted(learner.learn(supernet, sampler.ask(), images, labels))
    ['effective_rows', 'entropy', 'held_out_loss', 'joint', 'rows', 'sampled']
    """

    def __init__(
        self,
        sampler: EntropySampler,
        *,
        lr: float = 0.016,
        betas: tuple[float, float] = (0.9, 0.999),
        temperature: float = 1.0,
        cost: CostHinge | None = None,
        paper_exact: bool = False,
        joint_from: int | None = None,
        steps: int | None = None,
    ) -> None:
        self.sampler = sampler
        self.distribution = sampler.distribution
        check_number("temperature", temperature, above=0)
        if cost is not None:
            cost.check(self.distribution.space)
        if not paper_exact and sampler.least < 2:
            raise InputError(
                f"the sampler may draw {sampler.least} row a step; centred weights compare at "
                "least 2: raise its rows (EntropyRows(least=2)), or set paper_exact=True"
            )
        if joint_from is not None:
            self._check_switch(joint_from, steps)
        self.temperature = temperature
        self.cost = cost
        self.paper_exact = paper_exact
        self.joint_from = joint_from
        self._began_joint = self.distribution.joint
        self.adam = Adam(self.distribution.values.shape, lr=lr, betas=betas)

    @property
    def summable(self) -> Table | None:
        """The cost whose expected value is known, None where there is none."""
        metric = None if self.cost is None else self.cost.metric
        return metric if isinstance(metric, Table) and metric.reduce == "sum" else None

    def _check_switch(self, joint_from: int, steps: int | None) -> None:
        check_number("joint_from", joint_from, least=0, whole=True)
        if steps is not None:
            check_number("steps", steps, least=1, whole=True)
        if steps is not None and joint_from >= steps:
            raise InputError(
                f"joint_from={joint_from} is not before the end of the training, {steps} steps; "
                "switch earlier, or leave it None"
            )
        if self.distribution.joint:
            raise InputError(
                f"joint_from={joint_from}, but the distribution is joint already; begin with "
                "Distribution(space), or leave joint_from None"
            )
        self.distribution.check_joint()

    def learn(
        self,
        network: Supernet,
        archs: NDArray[np.int64],
        images: Tensor,
        labels: Tensor,
        *,
        micro_batch: int | None = None,
    ) -> dict[str, float]:
        """Update the distribution from held-out images.

        Args:
            network: the supernet; it comes back as it was.
            archs: the rows of the training step int ``[K, d]``.
            images: ``[b, c, h, w]``.
            labels: ``[b]``.
            micro_batch: images that pass at once; None for all. Losses are the means over all
                images either way; norms use the statistics of each part.

        Returns:
            What `update` does. Where a loss is not finite nothing is moved, and ``held_out_loss``
            says so: `train` then stops.

        Raises:
            InputError: rows of the warm-up.
        """
        if self.sampler.warming:
            raise InputError(
                f"the rows are of the warm-up of {self.sampler.warmup} steps, uniform instead of "
                f"drawn from the distribution; give the phase learn_from={self.sampler.warmup}"
            )
        losses = held_out_losses(network, archs, images, labels, micro_batch)
        if not np.isfinite(losses).all():
            return {"held_out_loss": float(losses.sum())}
        return self.update(archs, losses)

    def update(self, archs: ArrayLike, losses: ArrayLike) -> dict[str, float]:
        """Update the distribution from the losses of rows, however they were measured.

        Args:
            archs: rows int ``[K, d]`` drawn from the distribution.
            losses: float ``[K]``, mean negative log-likelihood [nats] of each.

        Returns:
            ``held_out_loss``: mean over the rows. ``rows``: K. ``entropy`` [nats]: of what they
            were drawn from. ``effective_rows``: 1 / sum of squared posterior weights, from 1 to K.
            ``sampled``: rows drawn so far. ``joint``: 0 or 1. With a cost also ``mean_cost`` of
            the rows, in its unit, and ``excess``: the mean of C_k.

        Raises:
            InputError: no rows, a single row where weights are centred, losses that are not
                finite, or of another number than the rows.
        """
        distribution = self.distribution
        rows, values = self._check(archs, losses)
        posterior = posterior_weights(values, self.temperature)
        if self.joint_from is not None and distribution.steps >= self.joint_from:
            self._join()
        record = {
            "held_out_loss": float(values.mean()),
            "rows": float(len(rows)),
            "entropy": distribution.entropy(),
            "effective_rows": float(1 / (posterior**2).sum()),
            "sampled": float(distribution.sampled),
            "joint": float(distribution.joint),
        }
        excess = None
        if self.cost is not None:
            costs = self.cost.costs(rows)
            excess = self.cost.excess_of(costs)
            record |= {"mean_cost": float(costs.mean()), "excess": float(excess.mean())}
        gradient = distribution.score(rows, self._weights(posterior, excess))
        distribution.values = self.adam.step(distribution.values, gradient, distribution.alive)
        # What has no expected value that is known is estimated by the rows of the step.
        distribution.snapshot(self.summable or record.get("mean_cost"))
        return record

    def gradient(self, archs: ArrayLike, losses: ArrayLike) -> NDArray[np.float64]:
        """Return float64 ``[f, w]``: the derivative by the distribution's values, as in `update`.

        Args and errors are those of `update`; nothing is moved.
        """
        rows, values = self._check(archs, losses)
        excess = None if self.cost is None else self.cost.excess(rows)
        weights = self._weights(posterior_weights(values, self.temperature), excess)
        return self.distribution.score(rows, weights)

    def _check(
        self, archs: ArrayLike, losses: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        rows = self.distribution.space.check(archs)
        values = np.asarray(losses, dtype=np.float64)
        least = 1 if self.paper_exact else 2
        if values.shape != (len(rows),) or len(rows) < least:
            raise InputError(
                f"losses has shape {values.shape} for {len(rows)} rows; give one for each of at "
                f"least {least} rows"
            )
        return rows, values

    def _weights(
        self, posterior: NDArray[np.float64], excess: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        """Return m_k float64 ``[K]``."""
        weights = posterior
        if self.cost is not None and excess is not None:
            weights = weights - self.cost.weights(excess)
        if self.paper_exact:
            return weights
        # From the first one, so that equal weights leave exactly nothing: Adam would divide what
        # rounding leaves by itself.
        moved = weights - weights[0]
        centred: NDArray[np.float64] = moved - moved.mean()
        return centred

    def _join(self) -> None:
        """Make groups joint; parameters that stay keep their moments, new ones begin at 0."""
        if self.distribution.joint:
            return
        places = {factor: number for number, factor in enumerate(self.distribution.factors)}
        before, own = self.adam, self.adam.settings()
        self.distribution.join()
        self.adam = Adam(
            self.distribution.values.shape,
            lr=own["lr"],
            betas=own["betas"],
            weight_decay=own["weight_decay"],
        )
        for number, factor in enumerate(self.distribution.factors):
            if factor in places:
                for name in ("first", "second", "steps"):
                    old = getattr(before, name)[places[factor], : factor.size]
                    getattr(self.adam, name)[number, : factor.size] = old

    def _settings(self) -> dict[str, Any]:
        return {
            "temperature": self.temperature,
            "cost": None if self.cost is None else str(self.cost),
            "paper_exact": self.paper_exact,
            "joint": self._began_joint,
            "joint_from": self.joint_from,
            **self.adam.settings(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state, that of the distribution included; the sampler's is its own."""
        return {
            "settings": self._settings(),
            "distribution": self.distribution.state_dict(),
            "adam": self.adam.state_dict(),
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a learner with other settings, or of another space.
        """
        check_settings(self._settings(), state["settings"], "learner")
        self.distribution.load_state_dict(state["distribution"])
        self.adam.load_state_dict(state["adam"])
