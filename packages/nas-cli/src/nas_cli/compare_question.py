"""What `nas compare` is asked: its options, and the settings that a comparison is begun with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from nas_cli.compare_methods import METHODS, Methods, check_methods, override_methods
from nas_cli.config import parse_setting
from nas_cli.limits import parse_limit
from nas_cli.run import read_json
from nas_cli.typed import check_keys, flatten, structure
from nas_spaces import InputError

__all__ = [
    "SETTINGS",
    "CompareQuestion",
    "ask_compare",
    "question_from",
    "question_of",
    "stored_question",
]

SETTINGS = "settings.json"
"""File in a comparison's folder: what was asked."""

LEAST_SEEDS = 2

DEFAULTS: dict[str, Any] = {
    "methods": METHODS,
    "settings": Methods(),
    "budget": 300,
    "seeds": 50,
    "mark": 99.9,
    "limits": (),
    "seed": 0,
    # Of NAS-Bench-201 on CIFAR-10 and CIFAR-100.
    "images": 50_000,
    "epochs": 200,
}


@frozen(kw_only=True)
class CompareQuestion:
    """What is compared over which table.

    ``space``: as of a run. ``truth``: file of the table. ``column``: of its accuracies, None for
    its only one. ``cost_column``: what a training cost, by the table; None for what its
    multiply-adds say, for ``epochs`` of ``images``. ``methods``: their names. ``settings``: of
    all methods there are. ``budget``: distinct architectures of a search. ``seeds``: searches of
    each method. ``mark``: [%] of the best accuracy that is reachable. ``limits``: as text.
    ``seed``: of all randomness.
    """

    space: str
    truth: str
    column: str | None = None
    cost_column: str | None = None
    images: int | None = None
    epochs: int | None = None
    methods: tuple[str, ...]
    settings: Methods
    budget: int
    seeds: int
    mark: float
    limits: tuple[str, ...] = ()
    seed: int


def question_of(given: Mapping[str, Any], before: CompareQuestion | None = None) -> CompareQuestion:
    """Return what options ask for.

    Args:
        given: options by name, None or empty where nothing is said: those of `CompareQuestion`,
            but for ``methods``, names with commas between them, and ``settings``, texts
            ``KEY=VALUE``.
        before: what is asked where nothing is said; None for the defaults.

    Raises:
        InputError: what is missing, unknown, out of range, or does not go together.
    """
    said = {key: value for key, value in given.items() if value not in (None, ())}
    known = DEFAULTS if before is None else attrs.asdict(before, recurse=False)
    for key, what in (("space", "what `nas spaces` lists"), ("truth", "a table of accuracies")):
        if key not in said and before is None:
            raise InputError(f"a comparison needs --{key}: {what}")
    names = said["methods"].split(",") if "methods" in said else known["methods"]
    methods = tuple(name.strip() for name in names if name.strip())
    check_methods(methods)
    overrides = map(parse_setting, said.get("settings", ()))
    settings = override_methods(known["settings"], methods, overrides)
    values = {**known, **said, "methods": methods, "settings": settings}
    values["limits"] = tuple(values["limits"])
    if "truth" in said:
        values["truth"] = str(Path(said["truth"]).resolve())
    for text in values["limits"]:
        parse_limit(text)
    _check(values)
    if values.get("cost_column") is not None:
        for key in ("images", "epochs"):
            if key in said:
                raise InputError(
                    f"--{key} is of multiply-adds; with --cost-column the table says what a "
                    "training costs"
                )
            values[key] = None
    return CompareQuestion(**values)


def _check(values: Mapping[str, Any]) -> None:
    for key, what in (("budget", "architectures"), ("images", "images"), ("epochs", "epochs")):
        if values[key] is not None and values[key] < 1:
            raise InputError(f"--{key} {values[key]}: it must be at least 1 of {what}")
    if values["seeds"] < LEAST_SEEDS:
        raise InputError(
            f"--seeds {values['seeds']}: one search says nothing of how much searches differ; give "
            f"at least {LEAST_SEEDS}"
        )
    if not 0 < values["mark"] <= 100:
        raise InputError(
            f"--mark {values['mark']:g}: it must be a percentage of the best accuracy, above 0 and "
            "at most 100"
        )
    if values["seed"] < 0:
        raise InputError(f"--seed {values['seed']}: it must be at least 0")


def ask_compare(out: Path | None, given: Mapping[str, Any], *, resume: bool) -> CompareQuestion:
    """Return what a comparison asks, a new one or the one in ``out``.

    Args:
        out: its folder; None for a new one.
        given: see `question_of`.
        resume: whether a comparison that is there is to be gone on with.

    Raises:
        InputError: see `question_of`; a folder that holds something else; a comparison that is
            there, without ``resume`` or with other settings.
    """
    if out is None:
        if resume:
            raise InputError("--resume needs --out, the folder of the comparison to go on with")
        return question_of(given)
    if out.exists() and not out.is_dir():
        raise InputError(f"--out {out} is a file; name a folder")
    if not (out / SETTINGS).exists():
        if out.exists() and any(not path.name.startswith(".") for path in out.iterdir()):
            raise InputError(
                f"--out {out} is not empty and holds no comparison; choose another folder"
            )
        return question_of(given)
    if not resume:
        raise InputError(
            f"--out {out} holds another comparison; go on with it by --resume, or name another "
            "folder"
        )
    before = stored_question(out)
    asked = question_of(given, before)
    changed = _differences(before, asked)
    if changed:
        raise InputError(
            f"--resume: {out} was begun with other settings: {'; '.join(changed)}; leave them out, "
            "or begin another comparison with another --out"
        )
    return before


def stored_question(folder: Path) -> CompareQuestion:
    """Return what the comparison in a folder was begun with.

    Raises:
        InputError: a file that is missing or damaged.
    """
    record = read_json(folder / SETTINGS, "question")["question"]
    try:
        return question_from(record)
    except InputError as error:
        raise InputError(f"{folder / SETTINGS} is damaged ({error}); restore it") from error


def question_from(values: Any) -> CompareQuestion:
    """Return the question that ``attrs.asdict`` made plain values of.

    Raises:
        InputError: values that are missing, unknown or of the wrong type.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"a question is a table, received {values!r}")
    check_keys(values, CompareQuestion)
    question = structure(values, CompareQuestion)
    check_methods(question.methods)
    return question


def _differences(before: CompareQuestion, asked: CompareQuestion) -> list[str]:
    old, new = (_flat(question) for question in (before, asked))
    return [
        f"{key} is {old.get(key, 'none')}, received {new.get(key, 'none')}"
        for key in dict.fromkeys((*old, *new))
        if old.get(key) != new.get(key)
    ]


def _flat(question: CompareQuestion) -> dict[str, Any]:
    """Return what a person would type, by name."""
    values = attrs.asdict(question)
    methods, settings = values.pop("methods"), values.pop("settings")
    named = {f"--{key.replace('_', '-')}": value for key, value in values.items()}
    return {**named, "--methods": ",".join(methods), **flatten(settings, "--set ")}
