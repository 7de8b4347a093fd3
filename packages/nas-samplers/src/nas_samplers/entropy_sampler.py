"""Rows drawn from a distribution, as many as it is uncertain."""

import math
from typing import Any

import numpy as np
from attrs import field, frozen
from attrs.validators import optional
from numpy.typing import NDArray

from nas_samplers.distribution import Distribution
from nas_samplers.settings import check_settings
from nas_samplers.validators import check_number, number
from nas_spaces import InputError
from nas_spaces.protocols import State

__all__ = ["EntropyRows", "EntropySampler"]

# More rows of a step than this are a slip of the share, unless a bound says that they are not. A
# number of rows that is written out is taken as it is.
MANY = 10_000


@frozen
class EntropyRows:
    """Rows of a step in proportion to the entropy: K = max(least, round(share * H)).

    FP-NAS, section 3.3: as the distribution grows certain fewer rows tell what is left to know.
    H is in nats: at a share of 1/4 the printed space FBNetV2-F (56.25 nats) begins with the 14
    rows that the paper names.

    Args:
        share: rows a nat, above 0 (the paper's lambda, 1/4).
        least: rows at least. The paper's is 1; the learner's default needs two rows to compare.
        most: rows at most. Without, a step that asks for more than 10,000, or than ``least`` where
            that is more, is refused.

    Raises:
        InputError: a number out of range; when called, more rows than anybody means.

    >>> [EntropyRows()(entropy) for entropy in (56.25, 20.0, 1.0)]
    [14, 5, 2]
    """

    share: float = field(default=0.25, validator=number(above=0))
    least: int = field(default=2, validator=number(least=1, whole=True))
    most: int | None = field(default=None, validator=optional(number(least=1, whole=True)))

    def __attrs_post_init__(self) -> None:
        if self.most is not None and self.most < self.least:
            raise InputError(f"most={self.most} must be at least least={self.least} rows")

    @property
    def bound(self) -> int:
        """Rows that a step has at most."""
        return max(MANY, self.least) if self.most is None else self.most

    def asks_for_too_many(self, entropy: float) -> bool:
        """Return whether the share of an entropy [nats] is beyond the bound that nobody set."""
        return self.most is None and self.share * entropy > self.bound

    def __call__(self, entropy: float) -> int:
        """Return how many rows a step has at an entropy [nats]."""
        if self.asks_for_too_many(entropy):
            raise InputError(
                f"share={self.share:g} of {entropy:.1f} nats asks for more than {self.bound:,} "
                "rows in a step; lower it, or bound them by most"
            )
        # The bound first: a product that is infinite is no integer.
        return max(self.least, round(min(self.share * entropy, self.bound)))


class EntropySampler:
    """Draws the rows of a step from a distribution: a fixed number, or by its entropy.

    Sources: PARSEC (Casale et al., 2019), a fixed number of rows; FP-NAS (Yan et al., CVPR 2021),
    section 3.3, a number in proportion to the entropy.

    During a warm-up, in which weights are trained and the distribution is not, rows are uniform
    over the live options. A learner must not take them for draws: give its phase
    ``learn_from=warmup`` at least.

    Args:
        distribution: what to draw from. It counts the rows; its state is the learner's.
        rng: source of randomness; its state is part of the sampler's.
        rows: of a step; a number (PARSEC), or what says so by the entropy (FP-NAS).
        warmup: steps at the beginning with uniform rows.
        warmup_rows: of a step of the warm-up; None for as many as ``rows`` says.

    Raises:
        InputError: a number out of range, or too many rows in the first step.

    >>> from nas_spaces import published
    >>> distribution = Distribution(published.load("fbnetv2-f", resolution=32))
    >>> sampler = EntropySampler(distribution, rng=np.random.default_rng(0))
    >>> sampler.ask().shape, distribution.sampled
    ((14, 50), 14)
    """

    def __init__(
        self,
        distribution: Distribution,
        *,
        rng: np.random.Generator,
        rows: int | EntropyRows = EntropyRows(),
        warmup: int = 0,
        warmup_rows: int | None = None,
    ) -> None:
        if isinstance(rows, EntropyRows):
            rows(distribution.entropy())
        else:
            check_number("rows", rows, least=1, whole=True)
        check_number("warmup", warmup, least=0, whole=True)
        if warmup_rows is not None:
            check_number("warmup_rows", warmup_rows, least=1, whole=True)
        self.distribution = distribution
        self.rng = rng
        self.rows = rows
        self.warmup = warmup
        self.warmup_rows = warmup_rows
        self.asked = 0
        self.entropy = math.nan

    @property
    def least(self) -> int:
        """Rows that a step behind the warm-up has at least."""
        return self.rows.least if isinstance(self.rows, EntropyRows) else self.rows

    @property
    def warming(self) -> bool:
        """Whether the last rows were uniform ones of the warm-up."""
        return 0 < self.asked <= self.warmup

    def ask(self) -> NDArray[np.int64]:
        """Return int64 ``[K, d]``; ``entropy`` [nats] is then that of what they were drawn from."""
        self.entropy = self.distribution.entropy()
        n = self.rows(self.entropy) if isinstance(self.rows, EntropyRows) else self.rows
        self.asked += 1
        if self.warming:
            n = n if self.warmup_rows is None else self.warmup_rows
            rows = self.distribution.space.sample(n, rng=self.rng)
        else:
            rows = self.distribution.sample(n, rng=self.rng)
        self.distribution.count(rows)
        return rows

    def _settings(self) -> dict[str, Any]:
        return {
            "rows": repr(self.rows) if isinstance(self.rows, EntropyRows) else int(self.rows),
            "warmup": self.warmup,
            "warmup_rows": self.warmup_rows,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state: the generator's, and how often it was asked."""
        return {
            "settings": self._settings(),
            "rng": self.rng.bit_generator.state,
            "asked": self.asked,
            "entropy": None if math.isnan(self.entropy) else self.entropy,
        }

    def load_state_dict(self, state: State) -> None:
        """Take a state back.

        Raises:
            InputError: the state of a sampler with other settings.
        """
        check_settings(self._settings(), state["settings"], "sampler")
        self.rng.bit_generator.state = state["rng"]
        self.asked = int(state["asked"])
        self.entropy = math.nan if state["entropy"] is None else float(state["entropy"])
