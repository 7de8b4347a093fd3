"""The report of a run: one HTML file that opens offline."""

import json
import math
import re
import tomllib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
import numpy as np
import plotly.offline
from attrs import frozen
from cattrs import transform_error
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import ArrayLike, NDArray

from nas_cli import plots
from nas_cli.run import MAIN_SEARCH
from nas_cli.spaces import stored_space
from nas_hw.count import macs_of, params_of
from nas_search import non_dominated
from nas_spaces import History, InputError, SearchSpace, replace_file
from nas_spaces.primitives import Convolution, Pool

__all__ = [
    "Candidate",
    "Comparison",
    "Config",
    "Curve",
    "DrawnLayer",
    "Retraining",
    "RunData",
    "Search",
    "SearchResult",
    "Training",
    "draw",
    "load_run",
    "write_report",
]

Record = TypeVar("Record")
Floats = NDArray[np.float64]


@frozen
class Supernet:
    """What the report names of the settings of a supernet. ``sampler``: what drew its paths."""

    sampler: str | None = None


@frozen
class Config:
    """What the report names of ``config.toml``; the file may hold more."""

    method: str
    space: str
    data: str
    limits: tuple[str, ...] = ()
    supernet: Supernet = Supernet()
    seed: int | None = None
    device: str | None = None


@frozen(eq=False)
class Curve:
    """What one training logged, in the order of its steps.

    ``step``, ``epoch``, ``loss``, ``lr``: float64 ``[n]``. ``steps``: how many it was to take.
    """

    step: Floats
    epoch: Floats
    loss: Floats
    lr: Floats
    steps: int


@frozen
class Training:
    """``train/summary.json``. ``path_counts[i][j]``: how often option j of choice i was drawn."""

    steps: int
    path_counts: tuple[tuple[int, ...], ...]
    seconds: float
    device: str


@frozen
class SearchResult:
    """``searches/NAME/result.json``. ``values``: the winner's error in [0, 1], macs, params."""

    name: str
    limits: tuple[str, ...]
    winner: tuple[int, ...]
    values: dict[str, float]
    evaluated: int
    space_size: int
    feasible: int | None = None
    random_best_error: float | None = None
    stopped: str = "budget"


@frozen
class Candidate:
    """One network that was trained from scratch. ``top1`` [%] on ``test_images`` images."""

    name: str
    architecture: tuple[int, ...]
    top1: float
    test_images: int
    macs: int
    params: int
    supernet_error: float | None = None


@frozen
class Comparison:
    """Winner minus random architectures, all in percentage points of top-1.

    ``low``, ``high``: the interval at ``confidence``; None where there were too few to give one.
    """

    difference: float
    confidence: float
    verdict: str
    low: float | None = None
    high: float | None = None


@frozen
class Retraining:
    """``searches/NAME/retrain/result.json``."""

    candidates: tuple[Candidate, ...]
    comparison: Comparison | None = None

    @property
    def winner(self) -> Candidate:
        """The candidate called ``winner``."""
        return next(one for one in self.candidates if one.name == "winner")


@frozen(eq=False)
class Search:
    """One search: its folder's name, what it found and all that it evaluated.

    ``random``: the baseline, None where there was none. ``retrain``: None where the winner has
    not been retrained.
    """

    folder: str
    result: SearchResult
    history: History
    random: History | None
    retrain: Retraining | None


@frozen(eq=False)
class RunData:
    """All that the report shows of a run.

    ``curves``: stage -> what it logged. ``seconds``: finished stage -> how long it took [s].
    ``train``: None where it has not finished. ``unfinished``: folders of
    searches that have no result yet.
    """

    name: str
    config: Config
    config_text: str
    space: SearchSpace
    curves: dict[str, Curve]
    seconds: dict[str, float]
    train: Training | None
    searches: tuple[Search, ...]
    unfinished: tuple[str, ...]


def load_run(run: Path) -> RunData:
    """Read a run's folder.

    A stage that has not finished has no file yet and is left out; a torn last line of
    ``events.jsonl`` is left out too.

    Raises:
        InputError: no run folder, or a file that is missing or malformed; the message names it.
    """
    run = Path(run)
    if not run.is_dir():
        raise InputError(f"run {str(run)!r} is no folder; give one that `nas` wrote")
    config_text = _text(run / "config.toml")
    config = _parse(run / "config.toml", lambda: _structure(tomllib.loads(config_text), Config))
    space = _parse(run / "space.json", lambda: stored_space(run, config.space))
    curves, seconds = _events(run / "events.jsonl")

    train = _optional(run / "train" / "summary.json", Training)
    if train is not None and tuple(map(len, train.path_counts)) != space.num_options:
        raise InputError(
            f"{run / 'train' / 'summary.json'}: path_counts has rows of lengths "
            f"{[len(row) for row in train.path_counts]}; the choices of space {space.name!r} have "
            f"{list(space.num_options)} options"
        )

    folder = run / "searches"
    names = [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    # The first search is the run's own; the others follow by name.
    names.sort(key=lambda name: (name != MAIN_SEARCH, name))
    done = [name for name in names if (folder / name / "result.json").exists()]

    return RunData(
        run.resolve().name,
        config,
        config_text,
        space,
        curves,
        seconds,
        train,
        tuple(_search(folder / name, space) for name in done),
        tuple(name for name in names if name not in done),
    )


def write_report(run: Path) -> Path:
    """Write ``report.html`` into a run's folder and return its path.

    Raises:
        InputError: see `load_run`.
        OSError: the file cannot be written; an older report is left as it was.
    """
    data = load_run(run)
    environment = Environment(
        loader=PackageLoader("nas_cli", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"si": _si, "top1": _top1, "duration": _duration, "signed": _signed}
    html = environment.get_template("report.html.j2").render(
        run=data,
        headline=_headline(data),
        plots=_plots(data),
        pictures={
            search.folder: draw(data.space, search.result.winner) for search in data.searches
        },
        plotlyjs=plotly.offline.get_plotlyjs(),
    )
    path = Path(run) / "report.html"
    replace_file(path, html)
    return path


# Reading ----------------------------------------------------------------------------------------


def _text(path: Path, *, torn: bool = False) -> str:
    """Return the text of a file; where it may be ``torn``, up to its last newline."""
    try:
        content = path.read_bytes()
        return (content[: content.rfind(b"\n") + 1] if torn else content).decode()
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing; a run's folder has it from its first stage"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _parse(path: Path, read: Callable[[], Record]) -> Record:
    """Return what ``read`` returns, its errors with the file's name in front."""
    try:
        return read()
    except InputError as error:
        message = str(error)
        raise InputError(message if str(path) in message else f"{path}: {message}") from error
    except ValueError as error:
        raise InputError(f"{path} is malformed: {error}") from error


def _structure(value: Any, kind: type[Record]) -> Record:
    try:
        return cattrs.structure(value, kind)
    except cattrs.BaseValidationError as error:
        raise InputError("; ".join(transform_error(error))) from error
    except (TypeError, AttributeError) as error:
        raise InputError(f"expected the fields of {kind.__name__}: {error}") from error


def _optional(path: Path, kind: type[Record]) -> Record | None:
    if not path.exists():
        return None
    return _parse(path, lambda: _structure(json.loads(_text(path)), kind))


def _check(path: Path, space: SearchSpace, archs: ArrayLike) -> None:
    _parse(path, lambda: space.check(archs))


def _history(path: Path, space: SearchSpace) -> History:
    history = _parse(path, lambda: History.from_csv(_text(path)))
    for name in ("generation", "error", "macs", "params"):
        _parse(path, partial(history.column, name))
    if not np.isfinite(history.values).all():
        raise InputError(
            f"{path}: row {int(np.argwhere(~np.isfinite(history.values))[0, 0])} "
            "holds a value that is no finite number"
        )
    if len(history):
        _check(path, space, history.archs)
    return history


def _search(folder: Path, space: SearchSpace) -> Search:
    path = folder / "result.json"
    result = _parse(path, lambda: _structure(json.loads(_text(path)), SearchResult))
    _check(path, space, [result.winner])
    missing = {"error", "macs", "params"} - set(result.values)
    if missing:
        raise InputError(f"{path}: values lacks {', '.join(sorted(missing))}")
    history = _history(folder / "history.csv", space)
    random = folder / "random.csv"
    path = folder / "retrain" / "result.json"
    retrain = _optional(path, Retraining)
    if retrain is not None:
        if [one.name for one in retrain.candidates].count("winner") != 1:
            raise InputError(f"{path}: candidates must name exactly one 'winner'")
        for one in retrain.candidates:
            _check(path, space, [one.architecture])
    return Search(
        folder.name,
        result,
        history,
        _history(random, space) if random.exists() else None,
        retrain,
    )


def _events(path: Path) -> tuple[dict[str, Curve], dict[str, float]]:
    """Return the curve of each stage, and the seconds of each finished stage."""
    if not path.exists():
        return {}, {}
    logged: dict[str, dict[int, tuple[float, float, float, int]]] = {}
    seconds: dict[str, float] = {}
    # A killed process leaves half a line behind the last newline.
    for number, line in enumerate(_text(path, torn=True).splitlines(), start=1):
        try:
            event = json.loads(line)
            if event["event"] == "step":
                # A resumed run repeats steps: the last line counts.
                logged.setdefault(event["stage"], {})[int(event["step"])] = (
                    float(event["epoch"]),
                    float(event["loss"]),
                    float(event["lr"]),
                    int(event["steps"]),
                )
            elif event["event"] == "stage" and event["status"] == "finished":
                seconds[str(event["stage"])] = float(event["seconds"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path}, line {number} is malformed: {error!r}") from error
    curves = {}
    for stage, steps in logged.items():
        order = sorted(step for step, values in steps.items() if math.isfinite(values[1]))
        if order:
            epoch, loss, lr, total = (
                np.array(column, dtype=np.float64)
                for column in zip(*(steps[step] for step in order), strict=True)
            )
            curves[stage] = Curve(
                np.array(order, dtype=np.float64), epoch, loss, lr, int(total[-1])
            )
    return curves, seconds


# What is shown ----------------------------------------------------------------------------------


@frozen
class DrawnLayer:
    """One box of the picture.

    ``title``: layer and kernel. ``details``: what else its record says. ``shape``: (channels,
    height, width) that leaves it. ``macs``, ``params``: of this layer. ``share``: of the
    network's MACs, in [0, 1]. ``kernel``: the largest, 0 where there is none. ``searched``: False
    for layers that no choice decides. ``sources``: blocks that it sums where these are not just
    the one before. ``side``, ``depth``: of the drawn box, in its own units (at most 34 and 18).
    """

    block: str
    title: str
    details: tuple[str, ...]
    shape: tuple[int, int, int]
    macs: int
    params: int
    share: float
    kernel: int
    searched: bool
    sources: tuple[str, ...]
    side: float
    depth: float


# Fields of layer records that the box shows in another way, or that hardly tell candidates apart.
SHOWN_ELSEWHERE = {"out", "classes", "kernel", "activation", "residual", "bias", "dropout"}


def draw(space: SearchSpace, arch: ArrayLike) -> list[DrawnLayer]:
    """Return the boxes of one architecture ``[d]``, in order.

    >>> from nas_spaces import published
    >>> boxes = draw(published.load("nas-bench-macro"), [2, 0, 1, 1, 1, 1, 1, 1])
    >>> boxes[1].title, boxes[1].details, boxes[1].shape
    ('MBConv 5x5', ('stride 2', 'expand 6'), (64, 16, 16))
    """
    placed = space.layers(arch)
    macs = [sum(macs_of(primitive) for primitive in one.graph) for one in placed]
    largest = max(max(one.out_shape[1:]) for one in placed)
    largest = max(largest, *space.input_shape[1:])
    deepest = max(one.out_shape[0] for one in placed)
    boxes = []
    for block, one, cost in zip(space.blocks, placed, macs, strict=True):
        kernel = max(
            (
                primitive.kernel
                for primitive in one.graph
                if isinstance(primitive, Convolution | Pool)
            ),
            default=0,
        )
        name = type(one.layer).__name__
        boxes.append(
            DrawnLayer(
                block.name,
                f"{name} {kernel}x{kernel}" if kernel else name,
                _details(one.layer),
                one.out_shape,
                cost,
                sum(params_of(primitive) for primitive in one.graph),
                cost / max(1, sum(macs)),
                kernel,
                bool(block.reads),
                block.inputs or (),
                # Square roots and logarithms: 224 and 1 pixels, 3 and 1280 channels fit one page.
                side=6 + 28 * math.sqrt(max(one.out_shape[1:]) / largest),
                depth=2 + 16 * math.log(one.out_shape[0] + 1) / math.log(deepest + 1),
            )
        )
    return boxes


def _details(layer: object) -> tuple[str, ...]:
    kind = type(layer)
    if not attrs.has(kind):
        return ()
    details = []
    for field in attrs.fields(kind):
        value = getattr(layer, field.name)
        plain = field.name == "stride" and value == 1
        default = field.name != "expand" and value == field.default
        if field.name not in SHOWN_ELSEWHERE and not plain and not default:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            details.append(f"{field.name} {value:g}" if number else f"{field.name} {value}")
    return tuple(details)


@frozen
class Headline:
    """What stands at the top. ``search``: the one that found the winner, where it is known."""

    search: Search | None
    retrained: Candidate | None
    comparison: Comparison | None
    randoms: int
    interval: dict[str, float] | None


def _headline(data: RunData) -> Headline:
    retrained = [search for search in data.searches if search.retrain is not None]
    if not retrained:
        return Headline(data.searches[0] if data.searches else None, None, None, 0, None)
    search = retrained[0]
    assert search.retrain is not None
    comparison = search.retrain.comparison
    return Headline(
        search,
        search.retrain.winner,
        comparison,
        len(search.retrain.candidates) - 1,
        None if comparison is None else _interval(comparison),
    )


def _interval(comparison: Comparison) -> dict[str, float] | None:
    """Return where low, high, difference and zero lie on a line from 0 to 100."""
    if comparison.low is None or comparison.high is None:
        return None
    marks = {
        "low": comparison.low,
        "high": comparison.high,
        "difference": comparison.difference,
        "zero": 0.0,
    }
    least, most = min(marks.values()), max(marks.values())
    # Room at both ends, and a line of some length where all four are equal.
    reach = (most - least) * 1.2 or 1.0
    middle = (least + most) / 2
    return {name: round(50 + 100 * (mark - middle) / reach, 2) for name, mark in marks.items()}


NUMBER = r"[\d.,]+(?:e\+?\d+)?"
MACS_LIMIT = re.compile(rf"(?:(?P<low>{NUMBER}) <= )?macs(?: <= (?P<high>{NUMBER}))?\b")


def _macs_limit(limits: Sequence[str]) -> tuple[float | None, float | None]:
    """Return the lower and upper end on MACs that the limits, as `Limit` prints them, state."""
    ends: dict[str, list[float]] = {"low": [], "high": []}
    for limit in limits:
        match = MACS_LIMIT.match(limit)
        for end, bounds in ends.items():
            if match and match[end]:
                bounds.append(float(match[end].replace(",", "")))
    return max(ends["low"], default=None), min(ends["high"], default=None)


def _plots(data: RunData) -> dict[str, str]:
    """Return the JSON of each figure by the id of its place on the page."""
    figures = {}
    if "train" in data.curves:
        curve = data.curves["train"]
        figures["training"] = plots.training(curve.step, curve.epoch, curve.loss, curve.lr)
    if data.train is not None and data.space.choices:
        figures["paths"] = plots.path_counts(data.train.path_counts, data.space.choices)
    for index, search in enumerate(data.searches):
        values = search.result.values
        objectives = np.stack(
            [search.history.column("error"), search.history.column("macs")], axis=1
        )
        figures[f"candidates-{index}"] = plots.candidates(
            search.history,
            non_dominated(objectives),
            search.random,
            winner=(values["error"], values["macs"]),
            limit=_macs_limit(search.result.limits),
        )
        figures[f"progress-{index}"] = plots.progress(search.history, search.random)
        prefix = f"retrain/{search.folder}/"
        retrained = {
            stage.removeprefix(prefix): (curve.step, curve.loss)
            for stage, curve in data.curves.items()
            if stage.startswith(prefix)
        }
        if retrained:
            figures[f"retraining-{index}"] = plots.retraining(retrained)
    return {name: _script_json(figure.to_json()) for name, figure in figures.items()}


def _script_json(text: str) -> str:
    """Return JSON that can stand inside a script element: no markup can end it early."""
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _si(value: float) -> str:
    """Return a count for a person: 1042368 -> '1.04 M', with a space that does not break."""
    rounded = float(f"{value:.3g}")
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(rounded) >= factor:
            return f"{rounded / factor:g}\N{NO-BREAK SPACE}{prefix}"
    return f"{rounded:g}"


def _top1(percent: float, images: int = 1000) -> str:
    """Return top-1 [%] with as many decimals as the number of images supports."""
    return f"{percent:.{1 if images <= 1000 else 2}f}"


def _signed(value: float) -> str:
    """Return a difference with its sign; the minus is the typographic one."""
    return f"{value:+.1f}".replace("-", "\N{MINUS SIGN}")


def _duration(seconds: float) -> str:
    """Return seconds for a person: 75 -> '1 min 15 s'."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
