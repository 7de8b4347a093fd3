"""Architecture parameters learnt through binary gates: ProxylessNAS and BetaNAS.

Sources: Cai et al., "ProxylessNAS", ICLR 2019, section 3.2 and its official code; Fang et al.,
"BetaNAS", 2019, phase 2.
"""

from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (the usual name)

from nas_samplers.adam import Adam
from nas_samplers.alphas import Alphas, draw_options, softmax_gradient, zero_options
from nas_samplers.cost_terms import CostTerm, Objective
from nas_samplers.drop_rules import DropRule
from nas_samplers.micro_batches import split_batch
from nas_samplers.settings import check_settings, named
from nas_samplers.validators import check_number
from nas_spaces import InputError, nearest
from nas_spaces.protocols import State
from nas_spaces.torch import Norms, Supernet, check_gates

__all__ = ["BinaryGates", "gate_gradients"]

Variant = Literal["all", "two-path"]


class BinaryGates:
    """Moves alphas from held-out images, one path and one candidate in memory at a time.

    A call of `learn` draws one option a choice, runs that path, and asks what the loss would gain
    if a little of another candidate were added to a block's output: the derivative by its gate,
    the inner product of the loss's gradient there with what the candidate returns for the same
    input, also of candidates that are not on the path (`gate_gradients`). Through the softmax it
    becomes the derivative by the alphas (ProxylessNAS, equation 4), to which that of the expected
    cost is added, and Adam moves them. Several blocks that read one choice add up.

    Variant ``"all"`` computes every live candidate. ``"two-path"`` draws two options a choice
    without replacement, renormalises their probabilities, draws the active one of them, and moves
    these two; then both are shifted by the same amount so that the sum of their exponentials, and
    with it the probability of every other option, stays as it was.

    Weights, their gradients and the statistics of norms are not touched: norms use those of the
    batch, as in training, and dropout is off. Computed in float32.

    As in the official code, a choice whose active candidate lets nothing through (`zero_options`)
    is not updated in that step. An `Identity` is a candidate like any other: where the official
    spaces have a zero layer beside a shortcut, ours have the identity, and the derivative by the
    alphas is the same since it does not see what all candidates of a block have in common.

    Departures from the official code: moments of Adam belong to each alpha, and those that take no
    part in a step keep theirs (in ``"two-path"`` the second moments of the others decay there);
    the cost of ``"two-path"`` is that of all live options where its value counts.

    Args:
        alphas: what is learnt. What is dropped takes no part any more.
        rng: source of randomness; its state is part of the learner's.
        variant: ``"all"`` or ``"two-path"``.
        lr: of Adam (official: 1e-3).
        betas: of Adam (official: no momentum).
        weight_decay: of Adam.
        cost: how the expected cost of the alphas enters the loss; None leaves it out.
        drop: which options may go (BetaNAS); None drops nothing. At most one a choice and call
            goes, that of the smallest alpha, and never the last.
        warmup: calls before the first that drops.

    Raises:
        InputError: an argument out of range; a space whose blocks depend on several choices; a
            cost term for alphas without a cost.

    >>> from nas_spaces import published
    >>> from nas_spaces.torch import Supernet
    >>> space = published.load("digits-mobile")
    >>> supernet = Supernet(space, generator=torch.Generator().manual_seed(0))
    >>> alphas = Alphas(space)
    >>> learner = BinaryGates(alphas, rng=np.random.default_rng(0))
    >>> images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 2, 3])
    >>> sorted(learner.learn(supernet, np.zeros((1, 8), dtype=int), images, labels))
    ['alive', 'held_out_loss', 'objective']
    >>> bool((alphas.values[alphas.alive] != 0).any())
    True
    """

    def __init__(
        self,
        alphas: Alphas,
        *,
        rng: np.random.Generator,
        variant: Variant = "all",
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.0, 0.999),
        weight_decay: float = 0.0,
        cost: CostTerm | None = None,
        drop: DropRule | None = None,
        warmup: int = 0,
    ) -> None:
        if variant not in get_args(Variant):
            raise InputError(
                f"variant={variant!r} is unknown: {nearest(variant, get_args(Variant))}"
            )
        check_number("warmup", warmup, least=0, whole=True)
        if cost is not None:
            alphas.costs()
        check_gates(alphas.space)
        self.alphas = alphas
        self.rng = rng
        self.variant = variant
        self.cost = cost
        self.drop = drop
        self.warmup = warmup
        self.adam = Adam(alphas.values.shape, lr=lr, betas=betas, weight_decay=weight_decay)
        self.calls = 0
        self._zero = zero_options(alphas.space)

    def learn(
        self,
        network: Supernet,
        archs: NDArray[np.int64],
        images: Tensor,
        labels: Tensor,
        *,
        micro_batch: int | None = None,
    ) -> dict[str, float]:
        """Update the alphas from held-out images.

        Args:
            network: the supernet; it comes back as it was.
            archs: the rows of the training step; the learner draws its own.
            images: ``[b, c, h, w]``.
            labels: ``[b]``.
            micro_batch: images that pass at once, see `gate_gradients`; None for all.

        Returns:
            ``held_out_loss`` of the path that was drawn, ``objective`` with the cost in it,
            ``alive``: the number of live options, and ``expected_cost`` where there is a cost.
        """
        alphas = self.alphas
        taking, active = self.draw()
        loss, slopes = gate_gradients(network, images, labels, active, taking, micro_batch)
        objective = Objective(loss, 1.0, 0.0)
        record: dict[str, float] = {"held_out_loss": loss}
        if self.cost is not None:
            record["expected_cost"] = alphas.expected_cost()
            objective = self.cost(loss, record["expected_cost"])
            slopes = objective.per_loss * slopes + objective.per_cost * alphas.costs()
        gradient = softmax_gradient(_softmax(alphas.values, taking), slopes)
        zero = self._zero[np.arange(len(active)), active]
        self._move(gradient, taking & ~zero[:, None])
        self.calls += 1
        if self.drop is not None and self.calls > self.warmup:
            self._drop(self.drop)
        alphas.snapshot()
        return {**record, "objective": objective.value, "alive": float(alphas.alive.sum())}

    def draw(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return which options take part, bool ``[d, k]``, and the active ones, int64 ``[d]``.

        Every `learn` draws anew.
        """
        chances = self.alphas.log_probabilities()
        if self.variant == "all":
            return self.alphas.alive.copy(), draw_options(chances, self.rng)
        # The two largest of the noisy ones are two draws without replacement.
        noisy = chances + self.rng.gumbel(size=chances.shape)
        ranks = (-noisy).argsort(axis=1).argsort(axis=1)
        pair = (ranks < 2) & self.alphas.alive
        return pair, draw_options(np.where(pair, chances, -np.inf), self.rng)

    def _move(self, gradient: NDArray[np.float64], where: NDArray[np.bool_]) -> None:
        """Take a step of Adam on the entries ``where``, bool ``[d, k]``."""
        before = self.alphas.values
        after = self.adam.step(before, gradient, where)
        if self.variant == "two-path":
            moved = where.any(axis=1)
            pairs = where[moved]
            grown = _log_sum(after[moved], pairs) - _log_sum(before[moved], pairs)
            after[moved] -= np.where(pairs, grown[:, None], 0.0)
        self.alphas.values = after

    def _drop(self, rule: DropRule) -> None:
        """Drop at most one option a choice."""
        alphas = self.alphas
        may_go = rule(alphas) & alphas.alive
        for choice in np.flatnonzero(may_go.any(axis=1) & (alphas.alive.sum(axis=1) > 1)):
            lowest = np.where(may_go[choice], alphas.values[choice], np.inf).argmin()
            alphas.drop(int(choice), int(lowest))

    def _settings(self) -> dict[str, Any]:
        return {
            "variant": self.variant,
            "cost": named(self.cost),
            "drop": named(self.drop),
            "warmup": self.warmup,
            **self.adam.settings(),
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state, that of the alphas included."""
        return {
            "settings": self._settings(),
            "alphas": self.alphas.state_dict(),
            "adam": self.adam.state_dict(),
            "calls": self.calls,
            "rng": self.rng.bit_generator.state,
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a learner with other settings, or of another space.
        """
        check_settings(self._settings(), state["settings"], "learner")
        self.alphas.load_state_dict(state["alphas"])
        self.adam.load_state_dict(state["adam"])
        self.calls = int(state["calls"])
        self.rng.bit_generator.state = state["rng"]


def gate_gradients(
    network: Supernet,
    images: Tensor,
    labels: Tensor,
    active: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    micro_batch: int | None = None,
) -> tuple[float, NDArray[np.float64]]:
    """Return the loss of a path, and its derivatives by the gates of candidates.

    The derivative by the gate of candidate ``j`` of a block is the inner product of the
    derivative by the block's output with what the candidate returns for the block's input. Blocks
    that read the same choice add up. In memory at a time are the activations of the path, later
    the inputs, outputs and derivatives of its blocks, and those of one candidate, without a graph.

    Args:
        network: the supernet; neither weights, gradients nor statistics are written.
        images: ``[b, c, h, w]``.
        labels: ``[b]``.
        active: the path, int64 ``[d]``.
        wanted: bool ``[d, k]``, the options whose derivatives are computed.
        micro_batch: images that pass at once; None for all. Loss and derivatives are the means
            over all images either way; norms use the statistics of each part.

    Returns:
        Cross-entropy, and float64 ``[d, k]``, 0 where nothing was wanted.

    Raises:
        InputError: a space whose blocks depend on several choices.
    """
    space = network.space
    check_gates(space)
    total, result = 0.0, np.zeros(wanted.shape)
    for part in split_batch(len(images), micro_batch):
        loss, slopes = _part_gradients(network, images[part], labels[part], active, wanted)
        share = len(labels[part]) / len(labels)
        total += share * loss
        result += share * slopes
    return total, result


def _part_gradients(
    network: Supernet,
    images: Tensor,
    labels: Tensor,
    active: NDArray[np.int64],
    wanted: NDArray[np.bool_],
) -> tuple[float, NDArray[np.float64]]:
    """Return what `gate_gradients` does, of images that pass at once."""
    space = network.space
    trace = network.trace(images, active, [Norms.of_batch() for _ in space.blocks])
    loss = F.cross_entropy(trace.logits, labels)
    gated = [(index, plan.columns[0]) for index, plan in enumerate(space.plan) if plan.columns]
    slopes = torch.autograd.grad(
        loss, [trace.outputs[index] for index, _ in gated], materialize_grads=True
    )
    places: list[tuple[int, int]] = []
    products: list[Tensor] = []
    with torch.no_grad():
        for (index, column), slope in zip(gated, slopes, strict=True):
            for option in np.flatnonzero(wanted[column]).tolist():
                if option == active[column]:
                    output = trace.outputs[index]
                else:
                    entering = trace.inputs[index]
                    output = network.candidate(entering, index, option, Norms.of_batch())
                places.append((column, option))
                products.append((slope * output).sum())
                del output  # before the next one is computed
        found = torch.stack([loss, *products]).double().cpu().numpy()
    result = np.zeros(wanted.shape)
    np.add.at(result, tuple(np.array(places, dtype=np.int64).reshape(-1, 2).T), found[1:])
    return float(found[0]), result


def _log_sum(values: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the logarithm of the sum of exponentials ``[n]`` of the entries ``where``."""
    # scipy's logsumexp rounds otherwise: with it the alphas that a seed leads to would change.
    kept = np.where(where, values, -np.inf)
    largest = kept.max(axis=1, keepdims=True)
    result: NDArray[np.float64] = largest[:, 0] + np.log(np.exp(kept - largest).sum(axis=1))
    return result


def _softmax(values: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return probabilities float64 ``[d, k]`` of the entries ``where``, 0 elsewhere."""
    logits = np.where(where, values, -np.inf)
    result: NDArray[np.float64] = np.exp(logits - _log_sum(values, where)[:, None])
    return result
