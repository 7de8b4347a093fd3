"""The settings of a run: what there is, with what it means below each, in words and units.

What a method sets is in `nas_cli.recipes` and `nas_cli.scales`; a default below holds where neither
says anything. `nas settings` and the page of all settings show the same words.
"""

from typing import Annotated, Any, Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, in_, le, lt, optional

from nas_cli.limits import USUAL_COST
from nas_cli.ppo_settings import BufferConfig, CriticConfig, PolicyConfig
from nas_cli.recipes import RECIPES
from nas_cli.references import REFERENCES
from nas_cli.typed import Overrides, Quantity
from nas_spaces.checks import MOST_BITS

__all__ = [
    "OF_SEARCH",
    "WHERE",
    "AlphasConfig",
    "CandidatesConfig",
    "Config",
    "DistributionConfig",
    "ImagesConfig",
    "RewardConfig",
    "SearchConfig",
    "SupernetConfig",
    "TrainConfig",
]


def _known_references(_: Any, attribute: Any, values: tuple[str, ...]) -> None:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"'{attribute.name}' must name each once: {value!r}")
        if value not in REFERENCES:
            raise ValueError(
                f"'{attribute.name}' must be 'channels' or bits of weights and of activations, 1 "
                f"to {MOST_BITS}, like '3w3a' or '2w4a': {value!r}"
            )


def _not_one(_: Any, attribute: Any, value: int) -> None:
    # Norms, and what is compared, need several.
    if value == 1 or value < 0:
        raise ValueError(f"'{attribute.name}' must be 0 or >= 2: {value}")


@frozen(kw_only=True)
class ImagesConfig:
    """Where images come from and how they are split."""

    root: str | None = None
    """Folder of the data sets that torchvision downloads; none for ``~/.cache/nas``."""
    classes: int | None = field(default=None, validator=optional(ge(2)))
    """Use so many of the classes only, drawn by the seed, in the whole run; none for all."""
    subset: int | None = field(default=None, validator=optional(gt(0)))
    """Use so many training images only, drawn by class; none for all."""
    held_out: float = field(default=0.2, validator=and_(gt(0), lt(1)))
    """Share of the training images that no supernet's weights are trained on: the search judges on
    them, and architecture parameters or a distribution are learned on them. Without effect where a
    folder has its own held-out images, in ``val/`` beside ``test/``, which is said first."""
    upscale: bool = False
    """Enlarge images that are smaller than the space's resolution, which are refused otherwise."""
    workers: int = field(default=2, validator=ge(0))
    """Processes that decode large images; 0 decodes in the run's own."""


@frozen(kw_only=True)
class SupernetConfig:
    """The supernet, and which paths it is trained on."""

    sampler: Literal[
        "auto",
        "uniform",
        "constrained",
        "strict-fair",
        "expectation-fair",
        "path-dropout",
        "balanced",
        "weighted",
        "mixture",
        "gumbel",
        "distribution",
    ] = "auto"
    """What draws the paths. Single ones: ``uniform``, or ``constrained`` to ranges of cost around
    the limit (the first on macs, otherwise the first); ``auto`` is constrained where there is a
    limit, else uniform, and stands in no run's settings. Several paths a step: ``strict-fair``,
    every candidate once; ``expectation-fair``, ``supernet.paths`` uniform ones. All candidates at
    once: ``path-dropout``. By architecture parameters, see ``alphas.*``: ``balanced``, single
    paths of live candidates, equally likely; ``weighted``, single paths as likely as the
    parameters say; ``mixture`` and ``gumbel``, all live candidates at once, weighed by the
    parameters or by a sample. ``distribution``: several paths a step, drawn from a distribution
    over architectures, see ``distribution.*``."""
    paths: int | None = field(default=None, validator=optional(ge(1)))
    """Paths of a step, of sampler ``expectation-fair`` only; none for as many as the largest
    choice has options."""
    path_dropout: float = field(default=0.05, validator=and_(ge(0), le(1)))
    """Rate r of sampler ``path-dropout`` (Bender et al., 2018): a candidate of k is dropped with
    probability r^(1/k), and r rises to this value over the whole training."""
    reduction: Literal["sum", "mean", "posterior"] = "sum"
    """What the gradients of the several paths of a step make together: their ``sum``; their
    ``mean``; their mean weighed by the ``posterior``, softmax(-loss / distribution.temperature) of
    the paths. Without effect where a step has one path."""
    affine: bool = True
    """Whether norms have a scale and a shift."""
    scheme: Literal["kaiming", "zero-residual", "spos"] = "zero-residual"
    """How weights begin, of stand-alone networks too. ``kaiming``: He et al., 2015.
    ``zero-residual``: the same, but residual branches begin as nothing (Goyal et al., 2017).
    ``spos``: as the authors' code of SPOS. See `nas_spaces.torch.initialise`."""


@frozen(kw_only=True)
class TrainConfig:
    """How networks are trained."""

    epochs: float = field(validator=gt(0))
    """Passes over the training images."""
    batch_size: int = field(validator=ge(2))
    """Images of an optimiser step."""
    micro_batch: int | None = field(default=None, validator=optional(ge(2)))
    """Images that pass at once, where a batch does not fit the device; none for the whole batch.
    Norms then see the statistics of so many."""
    optimiser: Literal["sgd", "adamw"] = "sgd"
    """SGD with momentum, or AdamW."""
    lr: float = field(validator=gt(0))
    """Peak learning rate."""
    momentum: float = field(default=0.9, validator=and_(ge(0), lt(1)))
    """Momentum of optimiser ``sgd``."""
    weight_decay: float = field(default=4e-5, validator=ge(0))
    """Decay of weights with more than one dimension; norms and biases have none. SPOS's by
    default."""
    level_decay: float = field(default=0.0, validator=ge(0))
    """Decay of the clipping levels of quantised layers, which mostly grow without (PACT, Choi et
    al., 2018). It acts by rate x steps, so that longer trainings need less."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls from its peak to 0 behind the warm-up; ``constant`` does not."""
    warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    """Share of the steps in which the rate rises linearly from 0 to its peak."""
    clip: float | None = field(default=None, validator=optional(gt(0)))
    """Largest norm of the gradient of a step; none clips nothing."""
    label_smoothing: float = field(default=0.1, validator=and_(ge(0), lt(1)))
    """Share of each label's weight that is spread evenly over all classes. SPOS's by default."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the forward and backward pass; weights are float32. ``auto`` is bfloat16 on a GPU."""
    channels_last: bool = True
    """Lay images out channels last, which is faster on most devices."""
    checkpoint_every: int = field(default=500, validator=ge(1))
    """Optimiser steps from one checkpoint to the next, which a killed training may lose."""


@frozen(kw_only=True)
class AlphasConfig:
    """Architecture parameters; read where ``supernet.sampler`` is ``balanced``, ``weighted``,
    ``mixture`` or ``gumbel``.

    They are updated on the held-out images, by Adam. A search that orders architectures by their
    error afterwards judges on images that the parameters have seen; the searches that the recipes
    name do not, they take the most probable architecture.
    """

    std: float = field(default=0.0, validator=ge(0))
    """Standard deviation of the first values; 0 begins with equal probabilities."""
    variant: Literal["all", "two-path"] = "all"
    """Of ``balanced`` and ``weighted``: an update looks at ``all`` candidates of a block
    (BetaNAS), or at two drawn ones (``two-path``, ProxylessNAS, section 3.2)."""
    warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    """Share of the steps before the first update."""
    every: int = field(default=1, validator=ge(1))
    """Steps from one update to the next."""
    lr: float = field(default=1e-3, validator=gt(0))
    """Learning rate of Adam, constant. ProxylessNAS's by default."""
    beta1: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    """Of Adam: decay of the mean of gradients. ProxylessNAS's by default."""
    beta2: float = field(default=0.999, validator=and_(ge(0), lt(1)))
    """Of Adam: decay of the mean of their squares."""
    weight_decay: float = field(default=0.0, validator=ge(0))
    """Weight decay of Adam."""
    cost: str = USUAL_COST
    """The metric whose expected value E enters the loss: one of ``--limit`` that is a sum over
    choices, so not peak_memory. It counts in units of a reference R: the largest value that a
    limit on it allows; without such a limit the middle between the smallest and the largest
    architecture."""
    cost_term: Literal["sum", "product"] = "sum"
    """``sum`` adds cost_weight * (E - R) / R to the loss; ``product`` multiplies the loss by
    cost_weight * (ln E / ln R)^cost_power (FBNet)."""
    cost_weight: float = field(default=0.0, validator=ge(0))
    """Weight of the cost in the loss; 0 leaves the cost out."""
    cost_power: float = field(default=0.6, validator=gt(0))
    """Exponent of ``alphas.cost_term=product``. FBNet's by default."""
    drop: Literal["margin", "share"] | None = None
    """Of ``balanced`` and ``weighted``: what ends a candidate, for good. ``margin``: a parameter
    more than ``alphas.drop_below`` lower than the mean of its choice (BetaNAS). ``share``: a
    probability below ``alphas.drop_below`` of an equal share. None drops nothing. At least one
    architecture within the run's limits is left."""
    drop_below: float = field(default=0.5, validator=gt(0))
    """Where ``alphas.drop`` ends a candidate; below 1 for ``share``."""
    drop_warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    """Share of the updates before the first drop."""
    temperature: float = field(default=5.0, validator=gt(0))
    """Of ``gumbel``: the first temperature of the samples. FBNet's by default."""
    temperature_decay: float = field(default=0.045, validator=ge(0))
    """Of ``gumbel``: the temperature falls by the factor exp(-temperature_decay) an epoch. FBNet's
    by default."""


@frozen(kw_only=True)
class DistributionConfig:
    """The distribution over architectures (PARSEC, FP-NAS); read where ``supernet.sampler`` is
    ``distribution``, but for its temperature.

    It is moved by Adam on the held-out images, with the paths that each step of the training drew,
    see `nas_samplers.PosteriorLearner`. ``rows_per_nat``, ``lr`` and ``cost_weight`` are FP-NAS's
    by default (sections 3.3 and 4.1); ``least``, the temperature of the mean loss and weights that
    are centred are ours, since the paper's text leaves them open or reinforces itself.
    """

    joint: bool = False
    """Whether the choices of a group have one categorical together from the beginning; if not,
    each has its own."""
    join_after: float | None = field(default=None, validator=optional(and_(ge(0), lt(1))))
    """Share of the steps after which the choices of a group are joined, with the same
    probabilities; none never joins them. Behind the first update; not with
    ``distribution.joint``."""
    warmup: float = field(default=0.0, validator=and_(ge(0), lt(1)))
    """Share of the steps in which paths are uniform and the distribution stays as it is."""
    warmup_rows: int | None = field(default=None, validator=optional(ge(1)))
    """Paths of a step of the warm-up; none for as many as later on."""
    rows: int | None = field(default=None, validator=optional(ge(1)))
    """Paths of a step; none for ``distribution.rows_per_nat`` times the entropy."""
    rows_per_nat: float = field(default=0.25, validator=gt(0))
    """Paths of a step for each nat of the distribution's entropy (the paper's lambda), where
    ``distribution.rows`` is none; between ``least`` and ``most``."""
    least: int | None = field(default=None, validator=optional(ge(1)))
    """Fewest paths of a step by the entropy; none for 2, since centred weights compare paths, and
    for 1 by ``distribution.paper_exact``."""
    most: int | None = field(default=None, validator=optional(ge(1)))
    """Most paths of a step by the entropy; none sets no bound."""
    every: int = field(default=1, validator=ge(1))
    """Steps from one update to the next."""
    lr: float = field(default=0.016, validator=gt(0))
    """Learning rate of Adam, constant."""
    beta1: float = field(default=0.9, validator=and_(ge(0), lt(1)))
    """Of Adam: decay of the mean of gradients."""
    beta2: float = field(default=0.999, validator=and_(ge(0), lt(1)))
    """Of Adam: decay of the mean of their squares."""
    temperature: float = field(default=1.0, validator=gt(0))
    """Of the weights of paths, softmax(-mean loss / temperature); also of those of
    ``supernet.reduction=posterior``. The papers do not say whether a batch's likelihood is a
    product, which makes weights one-hot, or a mean, which makes them nearly equal; 1 is the
    mean."""
    cost: str = USUAL_COST
    """A metric that can be limited."""
    target: Quantity | None = None
    """What the cost is to keep to: a value as in a limit, such as ``300M`` or ``60%`` of the
    largest architecture; none takes the largest value that a limit on the cost allows. Without
    such a limit macs do not count, and another cost is refused."""
    cost_term: Literal["log", "linear"] = "log"
    """What an excess over the target counts: the ``log`` of its mean over the paths as the paper
    prints it, or the mean itself (``linear``), see `nas_samplers.CostHinge`."""
    cost_weight: float = field(default=0.3, validator=ge(0))
    """The paper's beta; 0 leaves the cost out."""
    paper_exact: bool = False
    """Weights of paths as printed, not centred, and their number as printed, from 1 on: whatever
    is drawn is reinforced."""


@frozen(kw_only=True)
class SearchConfig:
    """How architectures are searched for."""

    evaluation: Literal["supernet", "standalone"] = "supernet"
    """What an architecture is judged by: the ``supernet``, which is trained before, or itself
    trained ``standalone``, by ``train.*`` and ``candidates.*``; there is no supernet then."""
    searcher: Literal["evolution", "nsga2", "random", "progressive", "most-probable", "ppo"] = (
        "evolution"
    )
    """``evolution`` (SPOS), or ``nsga2`` for several objectives (FairNAS). ``random``: random
    search itself. ``progressive`` sweeps the choices, every option of each, into a table that
    answers any limit (PONAS). ``most-probable`` takes what the architecture parameters or the
    distribution of the training say (BetaNAS, ProxylessNAS, FBNet, DARTS, FP-NAS). ``ppo`` learns
    a policy, by ``reward.*``, ``policy.*``, ``critic.*`` and ``buffer.*`` (FNAS)."""
    objectives: Annotated[tuple[str, ...], "error", "bitops"] = ("error",)
    """Of ``evolution`` and ``nsga2``: what is minimised, ``error`` and costs; evolution orders by
    the first and breaks ties by the next."""
    population: int = field(default=50, validator=ge(2))
    """Architectures of a generation; the budget of distinct ones is population x generations.
    That is the budget of all searchers but two, and of the random search beside each but one:
    ``most-probable`` evaluates one architecture (and ``search.samples``); ``progressive`` has its
    sweep, about as many architectures as the space has options, and random search beside it as
    many. Beside stand-alone architectures there is no random search. SPOS's by default."""
    parents: int = field(default=10, validator=ge(1))
    """Of ``evolution``: the best architectures so far, which children come from. SPOS's by
    default."""
    crossover: int = field(default=25, validator=ge(0))
    """Of ``evolution``: children of two parents in a generation; what ``crossover`` and
    ``mutation`` leave of the population is drawn at random. Of ``nsga2``: crossover /
    (crossover + mutation) of all children. SPOS's by default."""
    mutation: int = field(default=25, validator=ge(0))
    """Of ``evolution``: children of one parent in a generation. Of ``nsga2``: mutation /
    (crossover + mutation) of all children. SPOS's by default."""
    mutation_probability: float = field(default=0.1, validator=and_(gt(0), le(1)))
    """Of ``evolution`` and ``nsga2``: probability with which each choice of a mutant is drawn
    again. SPOS's by default."""
    mutator: Literal["random", "learned"] = "random"
    """Of ``nsga2``: what makes mutants: ``random`` draws, or, for four fifths of them, a policy
    that learns from what is told (``learned``, MoreMNAS), by ``policy.*``."""
    generations: int = field(default=20, validator=ge(1))
    """Generations, see ``search.population``. SPOS's by default."""
    suffixes: int = field(default=0, validator=ge(0))
    """Of ``progressive``: random architectures behind the swept choice, over which errors are
    averaged; 0 for the largest architecture, which candidates inherit their weights from."""
    score: Literal["loss", "loss/saving"] = "loss/saving"
    """Of ``progressive``: which replacement comes first where a limit is answered from the table:
    that of the least ``loss`` (the paper's), or of the least loss for what it saves."""
    exact: bool = False
    """Of ``progressive``: answer a limit by the table's best row instead of by replacements.
    Limits with a lower end always are."""
    exclude_zero: bool = False
    """Of ``most-probable``: leave out options that only cut a connection, as DARTS does."""
    samples: int = field(default=0, validator=ge(0))
    """Of ``most-probable``: so many architectures within the limits, drawn from what the training
    learned, are evaluated as well, to tell where the most probable one stands among them; it wins
    whatever they are."""
    recalibration_images: int = field(default=20_000, validator=_not_one)
    """Training images for the norm statistics of each architecture that the supernet judges; 0
    takes the supernet's own statistics. SPOS's by default."""
    recalibration_batch: int = field(default=200, validator=ge(2))
    """Images that pass at once for the norm statistics. SPOS's by default."""
    evaluation_images: int = field(default=0, validator=ge(0))
    """Held-out images that an architecture is judged on; 0 for all."""
    evaluation_batch: int = field(default=200, validator=ge(1))
    """Held-out images that pass at once: memory and speed, no more."""
    fold: bool = False
    """Merge norms into convolutions for the evaluation by the supernet (faster, rounds
    differently)."""


@frozen(kw_only=True)
class RewardConfig:
    """What searcher ``ppo`` is rewarded for: accuracy x (cost / target)^exponent."""

    cost: str = USUAL_COST
    """A metric that can be limited."""
    target: Quantity | None = None
    """A value as in a limit, such as ``300M`` or ``60%`` of the largest architecture; none takes
    the largest value that a limit on the cost allows, and rewards the accuracy alone where there
    is no such limit."""
    exponent: float = field(default=-0.07, validator=le(0))
    """At most 0, which leaves the cost out. MnasNet's by default."""
    hard: bool = False
    """What is below the target is worth no more than the target: its accuracy."""


@frozen(kw_only=True)
class CandidatesConfig:
    """Architectures that are trained alone in a search; read where ``search.evaluation`` is
    ``standalone``.

    Each is trained on the training images by ``train.*``, and judged on the held-out ones.
    """

    pool: bool = True
    """Whether a candidate begins with blocks of those trained before it (FNAS)."""
    least_similarity: float = field(default=0.75, validator=and_(gt(0), le(1)))
    """Least similarity of a block to one in the pool for which it begins with that one's weights;
    1 is the same block."""
    pairs: int = field(default=5, validator=_not_one)
    """So many candidates are trained both from the pool and from scratch, the first of each batch
    until there are as many, to find out whether the pool helps; 0 asks nothing and uses it."""
    finalists: int = field(default=10, validator=ge(1))
    """So many of the best by the reward, of those near ``reward.target`` where it is set, are
    trained by ``retrain.*``, on the training images alone; the best of them on the held-out ones
    wins. 1 takes the best by the reward. FNAS's by default."""
    executor: Literal["processes", "ray"] = "processes"
    """What trains them: processes of this machine, or a Ray cluster (it needs
    ``nas-cli[ray]``)."""
    workers: int | None = field(default=None, validator=optional(ge(1)))
    """How many at a time, 1 without a process of its own; none for the cores, on a GPU at most 4,
    on a cluster as many as it has room for."""
    address: str | None = None
    """Of the Ray cluster, ``auto`` or ``HOST:PORT``; none for one of this machine."""


@frozen(kw_only=True)
class Config:
    """All settings of a run."""

    method: str = field(default="spos", validator=in_(tuple(RECIPES)))
    """Which recipe the other settings are from: ``--method``."""
    space: str
    """``--space``: a published name, a JSON file, or ``module:attribute``, and behind it what is
    done to it (``@ROW``, ``+channels``, ``+bits``)."""
    data: str = "digits"
    """``--data``: ``digits``, ``cifar10``, ``cifar100``, ``imagefolder:PATH`` or ``synthetic``."""
    resolution: int | None = field(default=None, validator=optional(gt(0)))
    """Side of the images [pixels]; none is the space's own."""
    blocks: Overrides = None
    """Where there is one, what the space has before ``+channels`` and ``+bits`` add to it, such as
    its blocks, is searched first, in the run's folder ``blocks``, and then fixed as its winner has
    it: ``blocks.method`` and other settings of that search, but its space; images, seed, device
    and threads are the run's where they are not among them. None searches all of it at once."""
    limits: Annotated[tuple[str, ...], "macs<=50%"] = ()
    """``--limit``: all of them hold for the winner; ``%`` is of the largest architecture."""
    references: Annotated[tuple[str, ...], "2w2a"] = field(default=(), validator=_known_references)
    """Networks that are trained from scratch beside the winner, whatever the limits, with its
    blocks. ``channels``: with the usual channels. Bits of weights and of activations, like ``3w3a``
    or ``2w4a``: with the usual channels and these bits in every block."""
    baselines: int = field(default=5, validator=ge(0))
    """Random architectures within the limits that are trained from scratch as the winner is, so
    that the worth of the search can be seen."""
    seed: int = field(default=0, validator=ge(0))
    """Seed of all randomness."""
    device: str = "auto"
    """``cpu``, ``cuda`` or ``cuda:N``; ``auto`` is a GPU where there is one."""
    threads: int | None = field(default=None, validator=optional(and_(gt(0), le(1024))))
    """Of torch on a CPU. Results there repeat to the bit only with the same number; a run that
    does not say takes as many as there are cores, and keeps that. None leaves it to torch."""
    weights: str | None = None
    """``--weights``: a file that the supernet starts from."""
    warm_start: str | None = None
    """``--warm-start``: an earlier run by ``ppo``, whose critic and pool this one begins with."""
    images: ImagesConfig
    supernet: SupernetConfig
    meta: TrainConfig | None = None
    """Where there is one, the largest network is trained first, as it says; all candidates then
    inherit from it, and ``train`` follows (precision, channels_last and checkpoint_every are those
    of ``train`` for both)."""
    train: TrainConfig
    """The supernet; by ``search.evaluation=standalone``, each architecture that is looked at."""
    alphas: AlphasConfig = AlphasConfig()
    distribution: DistributionConfig = DistributionConfig()
    search: SearchConfig
    reward: RewardConfig = RewardConfig()
    policy: PolicyConfig = field(factory=PolicyConfig)
    critic: CriticConfig | None = field(factory=CriticConfig)
    """None leaves it out."""
    buffer: BufferConfig | None = field(factory=BufferConfig)
    """None leaves it out."""
    candidates: CandidatesConfig = CandidatesConfig()
    retrain: TrainConfig
    """The winner and the networks beside it, from scratch."""


# Where a run is computed does not decide what it computes.
WHERE = (
    "device",
    "images.root",
    "images.workers",
    "candidates.executor",
    "candidates.workers",
    "candidates.address",
)
"""Settings that say only where a run is computed; a search that is begun keeps none of them."""
OF_SEARCH = ("search", "reward", "policy", "critic", "buffer", "candidates")
"""The tables that one search of a run may set otherwise."""
