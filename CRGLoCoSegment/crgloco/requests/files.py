"""All requests that need no model: none of them imports torch."""

from __future__ import annotations

from collections.abc import Callable

from crgloco import model_zip
from crgloco.progress import Reporter
from crgloco.requests import cases, labels, machine
from crgloco.requests import fields as read
from crgloco.requests.fields import Answer, Fields


def export_model(fields: Fields, report: Reporter) -> Answer:
    """Answer ``export_model``."""
    del report
    path = read.path(fields, "zip")
    model_zip.export_zip(read.path(fields, "model"), path, overwrite=read.flag(fields, "overwrite"))
    return {"zip": str(path)}


def import_model(fields: Fields, report: Reporter) -> Answer:
    """Answer ``import_model``."""
    del report
    return {"path": str(model_zip.import_zip(read.path(fields, "zip"), read.path(fields, "into")))}


COMMANDS: dict[str, Callable[[Fields, Reporter], Answer]] = {
    "accept": labels.accept,
    "cases": cases.list_cases,
    "check": cases.check,
    "create": labels.create,
    "export_model": export_model,
    "import_model": import_model,
    "open": cases.open_case,
    "probe": machine.probe,
    "write_label": labels.write_label,
}
