"""What `nas rank` is asked: its options, and the settings that a ranking is begun with."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs
from attrs import frozen

from nas_cli.config import differences, override
from nas_cli.folder import RANK_SETTINGS
from nas_cli.run import Run, read_json
from nas_cli.run_spaces import stored_space
from nas_cli.scales import default_recalibration, scale_of
from nas_cli.settings import Config
from nas_cli.truth import LEAST
from nas_spaces import InputError

__all__ = ["RankQuestion", "ask_rank", "question_of"]

ARCHITECTURES = 200
"""How many are drawn where nothing is said: tau is then known to about 0.08 (95 %)."""

Kind = Literal["table", "standalone", "run"]
WORDS: dict[Kind, str] = {
    "table": "a table",
    "standalone": "trainings from scratch",
    "run": "another supernet",
}


@frozen
class RankQuestion:
    """What a supernet is held against.

    ``kind``: a ``table`` of accuracies, trainings from scratch (``standalone``), or the supernet of
    another ``run``. ``source``: the table's file, or the other run's folder. ``column``: of the
    table, None for its only one. ``architectures``: at most so many of the table's, 0 for all; in
    the other cases exactly so many, drawn within the run's limits. None where nothing is said.
    """

    kind: Kind
    source: str | None = None
    column: str | None = None
    architectures: int | None = None

    @property
    def count(self) -> int:
        """How many architectures are wanted; 0 for all of a table."""
        return ARCHITECTURES if self.architectures is None else self.architectures

    @property
    def options(self) -> dict[str, str | int | None]:
        """What a person types to ask this, the option that says the kind first."""
        if self.kind == "standalone":
            return {"--standalone": self.architectures}
        if self.kind == "run":
            return {"--against": self.source, "--architectures": self.architectures}
        return {
            "--truth": self.source,
            "--column": self.column,
            "--architectures": self.architectures,
        }


def question_of(
    *,
    truth: Path | None = None,
    column: str | None = None,
    standalone: int | None = None,
    against: Path | None = None,
    architectures: int | None = None,
) -> RankQuestion | None:
    """Return what options ask for; None where they ask for nothing.

    Raises:
        InputError: options that do not go together, or too few architectures.
    """
    named = {"--truth": truth, "--standalone": standalone, "--against": against}
    chosen = [option for option, value in named.items() if value is not None]
    if len(chosen) > 1:
        raise InputError(f"{' and '.join(chosen)}: a ranking is held against one of them")
    if column is not None and truth is None:
        raise InputError("--column is of a table; give it with --truth FILE")
    if architectures is not None and (standalone is not None or not chosen):
        raise InputError("--architectures goes with --truth FILE or --against RUN2")
    if standalone is not None:
        _refuse_few("--standalone", standalone)
        return RankQuestion("standalone", architectures=standalone)
    if architectures is not None and not (architectures == 0 and truth is not None):
        _refuse_few("--architectures", architectures)
    if truth is not None:
        return RankQuestion("table", str(truth.resolve()), column, architectures)
    if against is not None:
        return RankQuestion("run", str(against.resolve()), architectures=architectures)
    return None


def _refuse_few(option: str, wanted: int) -> None:
    if wanted < LEAST:
        raise InputError(
            f"{option} {wanted}: a rank correlation of fewer than {LEAST} architectures says "
            "nothing; give more"
        )


def ask_rank(
    run: Run,
    name: str,
    question: RankQuestion | None,
    given: Iterable[Mapping[str, Any]],
    *,
    resume: bool,
) -> tuple[Config, RankQuestion]:
    """Return the settings of one ranking and what it asks.

    Args:
        run: the run.
        name: of the ranking, one that is there or a new one.
        question: what was asked for; None for what the ranking was begun with.
        given: settings that were given, over those of the run or of the ranking that is there.
        resume: whether a ranking that is there is to be gone on with.

    Raises:
        InputError: nothing to hold the supernet against, a setting that is not of a ranking, or a
            ranking that is there, without ``resume`` or with other settings.
    """
    known = run.rank(name) / RANK_SETTINGS
    if not known.exists():
        if question is None:
            raise InputError(
                "what is the ranking to be held against? give --truth FILE, --standalone N or "
                "--against RUN2"
            )
        asked = _settings(run, question, list(given))
        return asked, attrs.evolve(question, architectures=question.count)
    if not resume:
        raise InputError(
            f"{run.path} holds a ranking {name!r} already; go on with it by --resume, or choose "
            "another --name"
        )
    record = read_json(known, "question", "search", "retrain")
    stored = override(run.config, [{key: record[key] for key in ("search", "retrain")}])
    before = RankQuestion(**record["question"])
    asked = override(stored, given)
    changed = list(differences(stored, asked).values())
    if question is not None:
        changed = [*_changes(before, question), *changed]
    if changed:
        raise InputError(
            f"ranking {name!r} of {run.path} was begun with other settings: {'; '.join(changed)}; "
            "leave them out, or choose another --name"
        )
    return asked, before


def _settings(run: Run, question: RankQuestion, given: list[Mapping[str, Any]]) -> Config:
    """Return the settings of a new ranking, which always judges with recalibrated norms too."""
    asked = override(run.config, given)
    changeable = ("search.", "retrain.") if question.kind == "standalone" else ("search.",)
    for key in differences(run.config, asked):
        if not key.startswith(changeable):
            raise InputError(
                f"a ranking against {WORDS[question.kind]} can change "
                f"{' and '.join(f'{one}*' for one in changeable)} only, not {key}"
            )
    if asked.search.recalibration_images:
        return asked
    if any("recalibration_images" in one.get("search", {}) for one in given):
        raise InputError(
            "search.recalibration_images=0: a ranking judges in both ways, with recalibrated "
            "norms and with the supernet's own; leave it out, or give a number of images"
        )
    # Both ways are wanted, whatever the run's searches do.
    scale = scale_of(asked.data, stored_space(run.path, asked.space).input_shape[1])
    images = default_recalibration(scale)
    return attrs.evolve(asked, search=attrs.evolve(asked.search, recalibration_images=images))


def _changes(before: RankQuestion, asked: RankQuestion) -> list[str]:
    """Return how the options that were given differ from those of the beginning."""
    old, new = before.options, asked.options
    if before.kind != asked.kind:
        first, other = next(iter(old.items())), next(iter(new.items()))
        return [f"{first[0]} {first[1]}, received {other[0]} {other[1]}"]
    # What is not said is as it was.
    return [
        f"{key} is {'left out' if old[key] is None else old[key]}, received {value}"
        for key, value in new.items()
        if value is not None and value != old[key]
    ]
