"""How a benchmark writes its architectures, as a template of text.

A template holds one placeholder for each choice, in order, and is taken literally besides:
``{option}`` is an option's text and ``{index}`` its number. ``{{`` and ``}}`` stand for braces.
"""

import itertools
import string
from collections.abc import Sequence

from attrs import frozen

from nas_spaces.errors import InputError, nearest

__all__ = ["Notation", "reads_as_row"]

PLACEHOLDERS = ("option", "index")
# What a row such as 2,1,0 is written with.
ROW = frozenset("0123456789, \t\n")
# Behind every text, so that its end can be looked for as other separators are.
END = "\0"


def reads_as_row(text: str) -> bool:
    """Return whether a text has nothing but digits, commas and blanks."""
    return ROW.issuperset(text)


@frozen
class Notation:
    """A template, taken apart for a space's choices.

    ``template``: the text. ``names``: the choices'. ``labels[i]``: what stands for each option of
    choice ``i``. ``between[i]``: what stands before it; the last entry ends the text.

    >>> notation = Notation.of("<{index}|{option}>", ["kernel", "kind"], [(3, 5), ("a", "b")])
    >>> notation.write([1, 0]), notation.read("<0|b>")
    ('<1|a>', [0, 1])
    """

    template: str
    names: tuple[str, ...]
    labels: tuple[tuple[str, ...], ...]
    between: tuple[str, ...]

    @classmethod
    def of(
        cls, template: str, names: Sequence[str], options: Sequence[Sequence[object]]
    ) -> "Notation":
        """Take a template apart.

        Args:
            template: the text.
            names: the choices'.
            options: those of each choice.

        Raises:
            InputError: another number of placeholders than choices, an unknown placeholder, or a
                template whose texts could be read in two ways.
        """
        placeholders, between = _parts(template)
        if len(placeholders) != len(names):
            raise InputError(
                f"notation {template!r} has {len(placeholders)} placeholders; the space has "
                f"{len(names)} choices, each of which needs one"
            )
        labels = tuple(
            tuple(
                str(option) if placeholder == "option" else str(i) for i, option in enumerate(own)
            )
            for placeholder, own in zip(placeholders, options, strict=True)
        )
        notation = cls(template, tuple(names), labels, (*between[:-1], between[-1] + END))
        notation._check_readable(placeholders)
        return notation

    def write(self, row: Sequence[int]) -> str:
        """Return the text of a row."""
        text = "".join(
            before + labels[index]
            for before, labels, index in zip(self.between, self.labels, row, strict=False)
        )
        return text + self.between[-1].removesuffix(END)

    def read(self, text: str) -> list[int]:
        """Return the row that a text stands for.

        Raises:
            InputError: another text; the message says where it departs from the template.
        """
        own = "".join(itertools.chain(self.between, *self.labels))
        if "," in text and "," not in own:
            raise InputError(f"architecture {text!r} is no row of integers; write it as 2,1,0,...")
        rest = text + END
        if not rest.startswith(self.between[0]):
            raise InputError(
                f"architecture {text!r} is neither a row of integers, such as 2,1,0,..., nor "
                f"written as {self.template!r}: it does not begin with "
                f"{self.between[0].removesuffix(END)!r}"
            )
        rest = rest.removeprefix(self.between[0])
        row = []
        for name, labels, behind in zip(self.names, self.labels, self.between[1:], strict=True):
            fits = [i for i, label in enumerate(labels) if rest.startswith(label + behind)]
            cut = [label for label in labels if rest.startswith(label)]
            if not fits and cut and behind not in rest:
                raise InputError(
                    f"architecture {text!r} is not written as {self.template!r}: behind "
                    f"{max(cut, key=len)!r} of choice {name!r} stands no "
                    f"{behind.removesuffix(END)!r}"
                )
            if not fits:
                written = rest.partition(behind)[0] if behind else rest[: max(map(len, labels))]
                raise InputError(
                    f"architecture {text!r} is not written as {self.template!r}: choice {name!r} "
                    f"has no option {written.removesuffix(END)!r}; {nearest(written, labels)}"
                )
            row += fits
            rest = rest.removeprefix(labels[fits[0]] + behind)
        if rest:
            raise InputError(
                f"architecture {text!r} is not written as {self.template!r}: "
                f"{rest.removesuffix(END)!r} is left over"
            )
        return row

    def _check_readable(self, placeholders: Sequence[str]) -> None:
        """Refuse a template by which a text could mean two rows."""
        for name, labels, behind in zip(self.names, self.labels, self.between[1:], strict=True):
            # In sorted order, a text that goes on stands right behind what it begins with.
            for one, other in itertools.pairwise(sorted(label + behind for label in labels)):
                if other.startswith(one):
                    raise InputError(
                        f"notation {self.template!r} cannot be read back: for choice {name!r} it "
                        f"can go on with {one.removesuffix(END)!r} and with "
                        f"{other.removesuffix(END)!r}; put a separator behind it"
                    )
        between = [part.removesuffix(END) for part in self.between]
        if not reads_as_row("".join(between)) or not all(
            any(map(reads_as_row, labels)) for labels in self.labels
        ):
            return
        # Its texts can look like rows, so they must mean what rows mean.
        inner = between[1:-1]
        alike = all(inner) or not any(inner)
        if "option" in placeholders or any(map(str.isdigit, "".join(between))) or not alike:
            raise InputError(
                f"notation {self.template!r} writes texts that look like rows of integers, such as "
                "2,1,0, and mean others; put a letter or a sign into it"
            )


def _parts(template: str) -> tuple[list[str], list[str]]:
    """Return the placeholders of a template, and what stands before each and behind the last."""
    placeholders: list[str] = []
    between = [""]
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"notation {template!r} is no template: {error}") from error
    for literal, name, form, conversion in parts:
        between[-1] += literal
        if name is None:
            continue
        if name not in PLACEHOLDERS:
            raise InputError(
                f"notation {template!r} has an unknown placeholder {name!r}: "
                f"{nearest(name, PLACEHOLDERS)}"
            )
        if form or conversion:
            raise InputError(
                f"notation {template!r} has a format in the placeholder {name!r}; write "
                f"{'{' + name + '}'}"
            )
        placeholders.append(name)
        between.append("")
    return placeholders, between
