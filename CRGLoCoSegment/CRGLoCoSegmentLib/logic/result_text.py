"""What a result says in numbers, as rich text: volume of each structure, and how sure the model is."""

from collections.abc import Mapping
from html import escape
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from crgloco.labels import LabelTable
from CRGLoCoSegmentLib.logic.model_text import plainName, swatch


def resultText(record: Mapping[str, Any], table: LabelTable, remark: str = "") -> str:
    """Return a table of volumes, facts, what was removed, and what else is to be known of it.

    Args:
        record: Of the result.
        table: Of the model.
        remark: What has to be known before anything else.
    """
    volumes = record.get("volumes_ml") or {}
    rows = "".join(
        f"<tr><td>{swatch(label.colour)} {escape(plainName(label.name))}</td>"
        f'<td align="right">&nbsp;&nbsp;{_volume(volumes.get(label.name))}</td></tr>'
        for label in table.labels
    )
    paragraphs = [f"<b>{escape(remark)}</b>"] if remark else []
    paragraphs += [f"<table>{rows}</table>", escape(_facts(record))]
    paragraphs += [escape(_islands(record))] if record.get("islands_ml") else []
    paragraphs += [escape(str(note)) for note in record.get("notes") or []]
    return "<br>".join(paragraphs)


def secondsText(seconds: float) -> str:
    """Return a duration as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def plainFigures(ml: float, count: int = 2) -> str:
    """Write a volume with so many figures that count, or all before the point: a mouse has microlitres."""
    if ml >= 10 ** (count - 1):
        return f"{ml:.0f}"  # in half of the world a comma between thousands is a decimal point
    return np.format_float_positional(ml, precision=count, fractional=False, trim="-")


def _volume(ml: Any) -> str:
    if not isinstance(ml, (int, float)):
        return "&ndash;"
    if ml == 0:
        return escape(_("not found"))
    return f"{plainFigures(ml, 3)} ml"


def _islands(record: Mapping[str, Any]) -> str:
    removed = [
        _("{ml} ml of {name}").format(ml=plainFigures(ml, 3), name=plainName(name))
        for name, ml in record["islands_ml"].items()
    ]
    return _("Removed as islands: {list}.").format(list=", ".join(removed))


def _facts(record: Mapping[str, Any]) -> str:
    facts = []
    if isinstance(record.get("mean_confidence"), (int, float)):
        facts.append(_("Mean confidence {share} %").format(share=round(100 * record["mean_confidence"])))
    if isinstance(record.get("expected_correction_ml"), (int, float)):
        ml = plainFigures(record["expected_correction_ml"], 3)
        facts.append(_("where it is not sure, about {ml} ml are expected to be wrong").format(ml=ml))
    if isinstance(record.get("seconds"), (int, float)):
        facts.append(_("took {seconds} s").format(seconds=f"{record['seconds']:.1f}"))
    return "; ".join(facts) + ("." if facts else "")
