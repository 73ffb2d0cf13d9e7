"""The file ``job.json``: what to train, on what and how long, checked when it is read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crgloco.errors import JobError, about
from crgloco.json_values import are_texts, is_number, is_text, is_whole

JOB_FILE = "job.json"
LARGEST_SEED = 2**63 - 1  # torch takes no more than 64 bits
_PATHS = ("cases", "out", "start")


@dataclass(frozen=True)
class Job:
    """What to train, on what, how long.

    Attributes:
        cases: The cases folder.
        method: Name of the method.
        out: The new model's folder.
        unlabelled: Folders of further unlabelled scans.
        config_name: A named set of the method's options.
        config: The method's options that differ from it.
        labelled: Use only the first so many labelled cases; ``None`` for all.
        iterations: Optimiser steps; ``None`` for the method's own number.
        minutes: Time budget of training, over all calls of the job; ``None`` for none.
        seed: Seed of all randomness, 0 to ``LARGEST_SEED``.
        start: Folder of the model to start from.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        title: Name of the new model as users see it; empty for the folder's name.
    """

    cases: Path
    method: str
    out: Path
    unlabelled: tuple[Path, ...] = ()
    config_name: str = "default"
    config: dict[str, Any] = field(default_factory=dict)
    labelled: int | None = None
    iterations: int | None = None
    minutes: float | None = None
    seed: int = 0
    start: Path | None = None
    device: str = "auto"
    title: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the job as plain values, ready for JSON."""
        values = dataclasses.asdict(self)
        values["unlabelled"] = [str(path) for path in self.unlabelled]
        return values | {key: str(values[key]) for key in _PATHS if values[key] is not None}

    @classmethod
    def from_json(cls, values: Any, base: Path) -> Job:
        """Read what ``to_json`` wrote.

        Args:
            values: The content of ``job.json``.
            base: Relative paths start here, those that begin with ``~/`` in the user's home.

        Raises:
            JobError: A key is missing or unknown, or a value cannot be used.
        """
        if not isinstance(values, dict):
            msg = "A job is a JSON object with keys and values."
            raise JobError(msg)
        _check_keys(values)
        _check_values(values)
        paths = {key: _from(base, values[key]) for key in _PATHS if values.get(key) is not None}
        unlabelled = tuple(_from(base, path) for path in values.get("unlabelled", ()))
        return cls(**{**values, **paths, "unlabelled": unlabelled})

    def absolute(self) -> Job:
        """Return the same job with paths that hold wherever it is read."""
        return dataclasses.replace(
            self,
            cases=self.cases.absolute(),
            out=self.out.absolute(),
            start=self.start.absolute() if self.start is not None else None,
            unlabelled=tuple(path.absolute() for path in self.unlabelled),
        )


def read_job(path: Path) -> Job:
    """Read a job; relative paths in it start at its folder.

    Args:
        path: The job's folder or its ``job.json``.

    Raises:
        JobError: Not there, damaged, or with keys and values that cannot be used; names the file.
    """
    file = path / JOB_FILE if path.is_dir() else path
    try:
        values = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        msg = f"{file} does not exist. Give a job's folder or its job.json."
        raise JobError(msg) from error
    except OSError as error:
        msg = f"{file} cannot be read: {error.strerror}."
        raise JobError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{file} is no JSON, or is cut off ({error})."
        raise JobError(msg) from error
    with about(file):
        return Job.from_json(values, file.parent.absolute())


def _from(base: Path, text: str) -> Path:
    """Return a path of a job; no shell has read it: by ``~`` a home is meant, not a folder of that name."""
    path = Path(text)
    return path.expanduser() if path.parts[:1] == ("~",) else base / path


def _check_keys(values: Mapping[str, Any]) -> None:
    fields = {entry.name: entry for entry in dataclasses.fields(Job)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        msg = f"The key {unknown[0]!r} is unknown. Known keys: {', '.join(fields)}."
        raise JobError(msg)
    missing = [key for key in ("cases", "method", "out") if not values.get(key)]
    if missing:
        msg = f"The key {missing[0]!r} is missing."
        raise JobError(msg)


def _check_values(values: Mapping[str, Any]) -> None:
    checks: dict[str, Callable[[Any], bool]] = {
        **dict.fromkeys(("cases", "method", "out", "config_name", "device", "title"), is_text),
        "start": lambda value: value is None or (is_text(value) and value != ""),
        "unlabelled": are_texts,
        "config": lambda value: isinstance(value, dict),
        "labelled": lambda value: value is None or (is_whole(value) and value >= 1),
        "iterations": lambda value: value is None or (is_whole(value) and value >= 1),
        "minutes": lambda value: value is None or (is_number(value) and value > 0),
        "seed": lambda value: is_whole(value) and 0 <= value <= LARGEST_SEED,
    }
    for key, value in values.items():
        if not checks[key](value):
            msg = f"The value of {key!r} cannot be used: {value!r}."
            if key == "seed":
                msg += f" A seed is a whole number from 0 to {LARGEST_SEED}."
            raise JobError(msg)
