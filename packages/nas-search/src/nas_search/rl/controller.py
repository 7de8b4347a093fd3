"""The policy of a reinforcement-learning search: an LSTM that decides choice after choice."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from nas_search import candidates
from nas_search.rl.checks import needs_choices
from nas_spaces import SearchSpace

__all__ = ["Controller"]

# Uniform in +-0.1, as Zoph and Le initialise their controller (ICLR 2017, section 4.1).
INITIAL_RANGE = 0.1
ROWS_AT_ONCE = 4096


class Controller(nn.Module):
    """A distribution over architectures that decides the choices one after another.

    A token, the option decided last, is embedded and goes through one LSTM layer; a softmax over
    the live options of the next choice follows, with weights of its own for each choice (Zoph and
    Le, ICLR 2017; MnasNet, Tan et al., CVPR 2019). The first token says "begin".

    Rows are drawn token by token for all rows at once; log-probabilities of rows that are known
    need one call of the fused LSTM over the whole sequence. Both are float32.

    Args:
        space: the search space, with at least one choice; dropped options have probability 0.
        rng: source of the initial weights; not used afterwards.
        hidden: units of the LSTM and of an embedding, 100 in FNAS.

    Raises:
        InputError: a space without choices, or ``hidden`` below 1.

    >>> from nas_spaces import published
    >>> space = published.load("nas-bench-macro")
    >>> controller = Controller(space, rng=np.random.default_rng(0))
    >>> archs, log_probabilities = controller.sample(2, rng=np.random.default_rng(1))
    >>> archs.shape, log_probabilities.shape
    ((2, 8), (2,))
    """

    def __init__(self, space: SearchSpace, *, rng: np.random.Generator, hidden: int = 100) -> None:
        super().__init__()
        needs_choices(space)
        candidates.at_least(1, hidden=hidden)
        self.space = space
        d, k = space.mask.shape
        # Token 0 begins; the options of choice i follow those of choice i - 1.
        offsets = 1 + np.concatenate([[0], np.cumsum(space.num_options)[:-1]])
        self.register_buffer("offsets", torch.as_tensor(offsets), persistent=False)
        closed = np.where(space.mask, 0.0, -np.inf).astype(np.float32)
        self.register_buffer("closed", torch.as_tensor(closed), persistent=False)
        # torch's own generator stays as it is; every parameter is drawn from rng below.
        with torch.random.fork_rng(devices=[]):
            self.embedding = nn.Embedding(1 + sum(space.num_options), hidden)
            self.lstm = nn.LSTM(hidden, hidden, batch_first=True)
        self.heads = nn.Parameter(torch.empty(d, k, hidden))
        self.biases = nn.Parameter(torch.zeros(d, k))
        for parameter in self.parameters():
            values = rng.uniform(-INITIAL_RANGE, INITIAL_RANGE, size=parameter.shape)
            with torch.no_grad():
                parameter.copy_(torch.as_tensor(values))

    offsets: torch.Tensor
    closed: torch.Tensor

    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        rng: np.random.Generator,
        given: NDArray[np.int64] | None = None,
        free: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Draw rows int64 ``[n, d]``; return them and their log-probabilities ``[n]`` in nats.

        Args:
            n: how many.
            rng: what they are drawn from.
            given: int64 ``[n, d]``, rows whose choices are kept where ``free`` is False; each
                choice that is drawn sees those before it. None draws everything.
            free: bool ``[n, d]``, goes with ``given``.
        """
        d = self.space.num_choices
        archs = torch.zeros(n, d, dtype=torch.int64)
        total = torch.zeros(n)
        uniform = torch.as_tensor(rng.random((d, n)))
        tokens = torch.zeros(n, dtype=torch.int64)
        state: tuple[torch.Tensor, torch.Tensor] | None = None
        for choice in range(d):
            output, state = self.lstm(self.embedding(tokens)[:, None], state)
            logits = output[:, 0] @ self.heads[choice].T + self.biases[choice] + self.closed[choice]
            log_p = torch.log_softmax(logits, dim=1)
            options = _inverse_cdf(log_p, uniform[choice])
            if given is not None and free is not None:
                kept = torch.as_tensor(given[:, choice])
                options = torch.where(torch.as_tensor(free[:, choice]), options, kept)
            archs[:, choice] = options
            total += log_p.gather(1, options[:, None])[:, 0]
            tokens = options + self.offsets[choice]
        return archs.numpy(), total.double().numpy()

    def log_probabilities(self, archs: torch.Tensor) -> torch.Tensor:
        """Return float32 ``[n, d, k]``: of each option, given the row's choices before it.

        Args:
            archs: int64 ``[n, d]``.
        """
        tokens = torch.zeros_like(archs)
        tokens[:, 1:] = archs[:, :-1] + self.offsets[:-1]
        outputs, _ = self.lstm(self.embedding(tokens))
        logits = torch.einsum("ndh,dkh->ndk", outputs, self.heads) + self.biases + self.closed
        return torch.log_softmax(logits, dim=2)

    @torch.no_grad()
    def log_probability(self, archs: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the log-probabilities ``[n]`` of rows ``[n, d]`` in nats; -inf: never drawn."""
        parts = [np.zeros(0)]
        for begin in range(0, len(archs), ROWS_AT_ONCE):
            rows = torch.as_tensor(archs[begin : begin + ROWS_AT_ONCE])
            chosen = self.log_probabilities(rows).gather(2, rows[..., None])
            parts.append(chosen.sum(dim=(1, 2)).double().numpy())
        return np.concatenate(parts)


def _inverse_cdf(log_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Return options ``[n]`` drawn from ``[n, k]`` by numbers ``[n]`` in [0, 1)."""
    cumulative = log_p.double().exp().cumsum(dim=1)
    # Rounding may leave the last sum below 1: an option of probability 0 is never drawn.
    threshold = uniform[:, None] * cumulative[:, -1:]
    return (cumulative <= threshold).sum(dim=1)
