"""Every architecture that was evaluated, in columns."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from attrs import field, frozen
from numpy.typing import ArrayLike, NDArray

from nas_spaces.errors import InputError

__all__ = ["History"]


def _texts(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(texts)


@frozen(eq=False)
class History:
    """Architectures with their values.

    Args:
        names: the names of the values' columns, for example ``("error", "macs")``.
        units: their units.
        archs: int64 ``[n, d]``.
        values: float64 ``[n, m]``.

    >>> history = History.empty(2, ("error", "macs"), ("1", "multiply-adds"))
    >>> history = history.append([[0, 1]], [[0.25, 300]])
    >>> print(history.to_csv(), end="")
    architecture,error [1],macs [multiply-adds]
    "0,1",0.25,300.0
    """

    names: tuple[str, ...] = field(converter=_texts)
    units: tuple[str, ...] = field(converter=_texts)
    archs: NDArray[np.int64]
    values: NDArray[np.float64]

    def __attrs_post_init__(self) -> None:
        if len(self.names) != len(self.units):
            raise InputError(f"history has {len(self.names)} names and {len(self.units)} units")
        if self.archs.ndim != 2 or self.values.shape != (len(self.archs), len(self.names)):
            raise InputError(
                f"history has archs of shape {self.archs.shape} and values of shape "
                f"{self.values.shape}; expected [n, d] and [n, {len(self.names)}]"
            )

    @classmethod
    def empty(cls, num_choices: int, names: Sequence[str], units: Sequence[str]) -> "History":
        """Return a history without rows."""
        return cls(
            tuple(names),
            tuple(units),
            np.zeros((0, num_choices), dtype=np.int64),
            np.zeros((0, len(names))),
        )

    def __len__(self) -> int:
        return len(self.archs)

    def append(self, archs: ArrayLike, values: ArrayLike) -> "History":
        """Return a longer history: rows ``[n, d]`` with values ``[n, m]`` put behind."""
        rows = np.asarray(archs, dtype=np.int64)
        new = np.asarray(values, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != self.archs.shape[1]:
            raise InputError(
                f"archs has shape {rows.shape}; the history has {self.archs.shape[1]} columns"
            )
        if new.shape != (len(rows), len(self.names)):
            raise InputError(
                f"values has shape {new.shape}; expected {(len(rows), len(self.names))}"
            )
        return History(
            self.names,
            self.units,
            np.concatenate([self.archs, rows]),
            np.concatenate([self.values, new]),
        )

    def column(self, name: str) -> NDArray[np.float64]:
        """Return the values ``[n]`` called ``name``."""
        if name not in self.names:
            raise InputError(f"history has no column {name!r}; it has {', '.join(self.names)}")
        return self.values[:, self.names.index(name)]

    def to_csv(self) -> str:
        """Return CSV text: the architecture, then one column a value with its unit."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["architecture", *(f"{n} [{u}]" for n, u in zip(self.names, self.units, strict=True))]
        )
        for arch, values in zip(self.archs.tolist(), self.values.tolist(), strict=True):
            writer.writerow([",".join(map(str, arch)), *(repr(value) for value in values)])
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str, *, num_choices: int | None = None) -> "History":
        """Read what `to_csv` wrote.

        Args:
            text: the CSV.
            num_choices: columns of an architecture, where the text may hold no rows.

        Raises:
            InputError: text of another form.
        """
        try:
            header, *lines = csv.reader(io.StringIO(text))
            names, units = zip(
                *(cell.removesuffix("]").split(" [", 1) for cell in header[1:]), strict=True
            )
            archs = [[int(option) for option in line[0].split(",") if option] for line in lines]
            values = [[float(cell) for cell in line[1:]] for line in lines]
            width = len(archs[0]) if archs else num_choices or 0
            return cls(
                names,
                units,
                np.array(archs, dtype=np.int64).reshape(len(lines), width),
                np.array(values, dtype=np.float64).reshape(len(lines), len(names)),
            )
        except (ValueError, IndexError, csv.Error) as error:
            raise InputError(f"this is no history in CSV: {error}") from error

    def to_jsonl(self) -> str:
        """Return one JSON object a line: ``{"architecture": [...], "error": ...}``."""
        lines = []
        for arch, values in zip(self.archs.tolist(), self.values.tolist(), strict=True):
            record: dict[str, Any] = {"architecture": arch}
            record.update(zip(self.names, values, strict=True))
            lines.append(json.dumps(record) + "\n")
        return "".join(lines)
