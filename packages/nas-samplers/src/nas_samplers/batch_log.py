"""What became of the candidates of one batch, written down as soon as it is known."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict, frozen

from nas_samplers.candidate import Candidate
from nas_spaces import InputError, replace_file

__all__ = ["BatchLog"]


@frozen
class BatchLog:
    """A file of a line for each candidate, behind one that says what they were made with.

    A batch that was killed goes on with what is in it. Lines are appended, and a torn last one is
    cut: waiting for the disk at each would take longer than all else that a candidate costs beside
    its training.

    Args:
        path: the file; its folder exists.
        made_with: JSON values that the results depend on.
    """

    path: Path
    made_with: Mapping[str, Any]

    def read(self) -> dict[int, Candidate]:
        """Return the candidates by number, none where the batch has not begun; begin the file.

        Raises:
            InputError: a file of another search, or a damaged one.
        """
        content = self.path.read_bytes() if self.path.exists() else b""
        *lines, torn = content.split(b"\n")
        if not lines:
            replace_file(self.path, json.dumps(self.made_with) + "\n")
            return {}
        try:
            theirs, *records = (json.loads(line) for line in lines)
            found = [Candidate(**{**one, "arch": tuple(one["arch"])}) for one in records]
            differences = [key for key in self.made_with if theirs[key] != self.made_with[key]]
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"{self.path} is damaged ({type(error).__name__}: {error}); remove it to train its "
                "candidates again"
            ) from error
        if differences:
            key = differences[0]
            raise InputError(
                f"{self.path} is of another search: its {key} is {theirs[key]!r}, this one's is "
                f"{self.made_with[key]!r}; choose an empty folder, or resume with the same settings"
            )
        if torn:
            replace_file(self.path, content.removesuffix(torn))
        return {one.number: one for one in found}

    def append(self, candidate: Candidate) -> None:
        """Write down what became of one more."""
        with self.path.open("ab") as file:
            file.write(json.dumps(asdict(candidate)).encode() + b"\n")
