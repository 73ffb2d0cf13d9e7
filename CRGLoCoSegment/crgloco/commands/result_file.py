"""The file that a result is written to: an earlier result may be replaced, nobody else's file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crgloco.atomic import saving, write_bytes
from crgloco.errors import OptionError

Result = dict[str, Any] | list[Any]

# The first entry of every such file; by it we know our own again.
_MARK = {"written_by": "crgloco"}


def as_text(result: Result) -> str:
    """Return a result as one JSON document."""
    return json.dumps(result, indent=2, ensure_ascii=False, default=str) + "\n"


def write_result(path: Path, result: Result) -> None:
    """Write a result that says who wrote it; a list is its ``items``.

    Raises:
        OptionError: See ``assert_may_be_written``: the file may have come while we worked.
        ResourceError: The disk is full, or the folder cannot be written.
    """
    assert_may_be_written(path)
    fields = result if isinstance(result, dict) else {"items": result}
    write_bytes(path, as_text({**_MARK, **fields}).encode(errors="backslashreplace"))


def assert_may_be_written(path: Path) -> None:
    """Refuse a file that could not be written, or that would be lost.

    Raises:
        OptionError: It is a folder, its folder is missing, or it exists and is no earlier result.
        ResourceError: The operating system lets us not even look.
    """
    with saving(path):
        if path.is_dir():
            msg = f"{path} is a folder; the result as JSON needs a file, such as {path / 'result.json'}."
            raise OptionError(msg)
        if not path.parent.is_dir():
            msg = f"{path} cannot be written: its folder does not exist. Make it, or choose another one."
            raise OptionError(msg)
        if path.exists() and not _is_earlier_result(path):
            msg = (
                f"{path} exists and is no earlier result of crgloco: it would be lost. Choose another name "
                "for the result, or move that file away."
            )
            raise OptionError(msg)


def _is_earlier_result(path: Path) -> bool:
    """Whether a file begins as ours do, or is empty as those are that make a name for a temporary file."""
    if not path.is_file():  # a device or a pipe
        return False
    beginning = as_text(_MARK).removesuffix("\n}\n").encode()
    with path.open("rb") as file:
        return file.read(len(beginning)) in (b"", beginning)
