"""What every setting means, for a person: read from the docstrings below the fields.

`nas settings` shows it, and the page of all settings is made of it:
``python -m nas_cli.settings_text > packages/nas-cli/docs/settings.md``.
"""

import ast
import difflib
import inspect
import json
import textwrap
from collections.abc import Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from nas_cli.config import resolve
from nas_cli.recipes import RECIPES
from nas_cli.scales import defaults, scale_of
from nas_cli.settings import Config
from nas_cli.spaces import load_space
from nas_cli.typed import Overrides, Quantity, flatten
from nas_spaces import InputError, nearest

__all__ = ["describe_settings", "settings_page", "show_settings"]

WIDTH = 100
KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    Quantity: "a number, or a text like 300M or 60%",
    tuple[str, ...]: "a list of texts",
    Overrides: "a table of settings, or none",
}
SOURCE_KINDS = ("cifar10", "cifar100", "digits", "imagefolder", "synthetic")
# Of the page: data of each scale, and what a person calls it.
SCALES = {"digits": "digits", "cifar10": "images of up to 64 px", "imagefolder:DIR": "larger ones"}


@frozen
class Setting:
    """One setting.

    ``key``: its dotted name. ``kind``: which values it can have. ``about``: what it means, with
    code between double backticks.
    """

    key: str
    kind: str
    about: str


@frozen
class SettingTable:
    """A table of settings; the one without a name has those that are in none.

    ``cls``: the class of its record. ``about``: what the table is for.
    """

    name: str
    cls: type
    about: str
    settings: tuple[Setting, ...]


def describe_settings(
    name: str | None, method: str | None = None, data: str | None = None
) -> dict[str, dict[str, Any]]:
    """Return settings by their dotted names: ``default``, ``values`` and what they are ``about``.

    Args:
        name: of a setting, or of a table for all of it; None for all there are.
        method: whose defaults they are; None for that of a run.
        data: what its images are from, which defaults depend on; None for that of a run.

    Raises:
        InputError: an unknown name, method or data.
    """
    if name is not None and name.startswith("blocks."):
        raise InputError(
            f"setting {name!r} is one of the search before: see "
            f"`nas settings {name.removeprefix('blocks.')}`"
        )
    own = _defaults(method, data)
    found: dict[str, dict[str, Any]] = {}
    for table in _tables():
        # A table that there is none of stands there itself.
        absent = f"; there is no table {table.name} by default" if table.name in own else ""
        for setting in table.settings:
            if name in (None, table.name, setting.key):
                found[setting.key] = {
                    "default": own.get(setting.key),
                    "values": setting.kind + absent,
                    "about": _plain(setting.about),
                }
    if not found:
        names = [each for table in _tables() for each in (table.name, *_keys(table)) if each]
        close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise InputError(f"setting {name!r} is unknown: {hint}`nas settings` lists all of them")
    return found


def show_settings(record: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the record of `describe_settings` as lines."""
    lines: list[str] = []
    told: dict[tuple[type, str], str] = {}
    for table in _tables():
        shown = [key for key in _keys(table) if key in record]
        if len(shown) > 1:
            head = f"{table.name}: {table.about}" if table.name else table.about
            lines += ["", *_wrapped(_plain(head)), ""]
        none = all(record[key]["default"] is None for key in shown)
        if shown and none and len(record) > len(shown):
            lines.append(f"{table.name} = none   (a table, see `nas settings {table.name}`)")
            continue
        for key in shown:
            one = record[key]
            lines += _wrapped(
                f"{key} = {_value(one['default'])}   ({one['values']})",
                second="    ",
            )
            # Of two tables of one kind the second says only where the words are.
            before = told.setdefault((table.cls, key.removeprefix(f"{table.name}.")), key)
            about = one["about"] if before == key else f"As {before}."
            lines += _wrapped(about, first="    ", second="    ")
    return "\n".join(lines).strip("\n")


def settings_page() -> str:
    """Return the page of all settings, as Markdown."""
    what = (
        "What `--set KEY=VALUE` and a file of `--config` can say; `none` is no value. Defaults are "
        "those of `--method spos`: where three stand, with ` / ` between them, they are of "
        f"{', '.join(SCALES.values())}. `nas settings --method NAME --data DATA` shows those of "
        "another method."
    )
    made = "<!-- Made by `python -m nas_cli.settings_text`; edit nas_cli/settings.py instead. -->"
    lines = [made, "", "# All settings", "", *_wrapped(what)]
    scales = [_defaults(None, data) for data in SCALES]
    shared: dict[type, list[SettingTable]] = {}
    for table in _tables():
        shared.setdefault(table.cls, []).append(table)
    for group in shared.values():
        # A table that is none by default has no column.
        shown = [t for t in group if t.name == "" or scales[0].get(t.name, "") is not None]
        heads = [f"`{t.name}.*`" if len(shown) > 1 else "default" for t in shown]
        title = ", ".join(f"`{t.name}.*`" for t in group) if group[0].name else "The run"
        lines += ["", f"## {title}", ""]
        if len(group) > 1:
            lines += [*_wrapped(_joined(group[0].cls.__doc__ or "")), ""]
            for t in group:
                lines += _wrapped(_marked(f"`{t.name}`: {t.about}"), first="- ", second="  ")
        else:
            lines += _wrapped(_marked(group[0].about))
        lines.append("")
        lines.append(f"| setting | {' | '.join(heads)} | values | |")
        lines.append("|---" * (len(heads) + 3) + "|")
        for number, setting in enumerate(group[0].settings):
            keys = [t.settings[number].key for t in shown]
            values = [_of_scales([scale.get(key) for scale in scales]) for key in keys]
            label = setting.key if len(group) == 1 else setting.key.rpartition(".")[2]
            about = _marked(setting.about)
            lines.append(f"| `{label}` | {' | '.join(values)} | {setting.kind} | {about} |")
    return "\n".join(lines) + "\n"


def _tables() -> list[SettingTable]:
    """Return all settings, those in no table first."""
    hints, about = get_type_hints(Config), _docstrings(Config)
    tables: list[SettingTable] = []
    own: list[Setting] = []
    classes = {key: next(filter(attrs.has, _parts(hint)), None) for key, hint in hints.items()}
    for key, cls in classes.items():
        if cls is None:
            own.append(Setting(key, _kind(hints[key]), about[key]))
            continue
        texts = _docstrings(cls)
        settings = tuple(
            Setting(f"{key}.{name}", _kind(hint), texts[name])
            for name, hint in get_type_hints(cls).items()
        )
        # What all tables of one kind are is no word about one of them.
        only = list(classes.values()).count(cls) == 1
        words = [_joined(cls.__doc__ or "")] if only else []
        words += [about[key]] if key in about else []
        tables.append(SettingTable(key, cls, " ".join(words), settings))
    return [SettingTable("", Config, "Settings that are in no table.", tuple(own)), *tables]


def _docstrings(cls: type) -> dict[str, str]:
    """Return what stands below each field of a class, by the field's name."""
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for before, node in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(before, ast.AnnAssign) and isinstance(node, ast.Expr):
            assert isinstance(before.target, ast.Name)
            found[before.target.id] = _joined(ast.literal_eval(node.value))
    return found


def _keys(table: SettingTable) -> list[str]:
    return [setting.key for setting in table.settings]


def _parts(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _kind(hint: Any) -> str:
    """Return which values an annotation allows.

    >>> _kind(float | None), _kind(Literal["sum", "mean"])
    ('a number, or none', 'sum or mean')
    """
    if hint in KINDS:
        return KINDS[hint]
    words: list[str] = []
    for part in _parts(hint):
        if get_origin(part) is Literal:
            *others, last = get_args(part)
            words.append(f"{', '.join(others)} or {last}" if others else last)
        elif part is not type(None):
            words.append(KINDS[part])
    return ", or ".join([*words, *(["none"] if type(None) in _parts(hint) else [])])


def _defaults(method: str | None, data: str | None) -> dict[str, Any]:
    """Return the value of each setting by default, by its dotted name.

    Raises:
        InputError: an unknown method or data.
    """
    if data is not None and data.partition(":")[0] not in SOURCE_KINDS:
        raise InputError(f"data {data!r} is unknown: {nearest(data, SOURCE_KINDS)}")
    given = {key: value for key, value in (("method", method), ("data", data)) if value is not None}
    config = resolve([given])
    values = attrs.asdict(config)
    resolution = config.resolution or load_space(config.space).input_shape[1]
    scale = scale_of(config.data, resolution)
    if "threads" not in {**RECIPES[config.method], **defaults(config.method, scale)}:
        values["threads"] = "the cores"  # not how many this machine has
    return {**flatten(values), "blocks": values["blocks"]}


def _of_scales(values: list[Any]) -> str:
    texts = [_value(value) for value in values]
    return " / ".join(texts if len(set(texts)) > 1 else texts[:1])


def _value(value: Any) -> str:
    """Return a value as a person writes it.

    >>> _value(None), _value(0.2), _value(("macs<=50%",)), _value(True)
    ('none', '0.2', '["macs<=50%"]', 'true')
    """
    if value is None:
        return "none"
    if isinstance(value, bool | tuple | dict):
        return json.dumps(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _joined(text: str) -> str:
    return " ".join(inspect.cleandoc(text).split())


def _plain(text: str) -> str:
    return text.replace("`", "")


def _wrapped(text: str, first: str = "", second: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=second,
        break_on_hyphens=False,
        break_long_words=False,
    )


def _marked(text: str) -> str:
    return text.replace("``", "`")


if __name__ == "__main__":
    print(settings_page(), end="")
