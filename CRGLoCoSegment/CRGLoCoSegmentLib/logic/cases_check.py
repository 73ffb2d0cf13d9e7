"""What the check of the cases found, and whether they suit the start model and the method; in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from crgloco.channels import in_other_order, in_same_order
from crgloco.labels import LabelTable
from crgloco.model_card import ModelCard
from crgloco.model_store import is_pretraining

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong or should be known.

    Attributes:
        severity: ``"error"``: the training would fail; ``"warning"``: it works.
        case: Name of the case; empty if it concerns all.
        text: What was found, where, and what to do.
    """

    severity: str
    case: str
    text: str


@dataclass(frozen=True)
class CasesCheck:
    """The answer of a check.

    Attributes:
        labelled: Labelled cases that teach.
        validation: Labelled cases that only measure.
        unlabelled: Unlabelled scans.
        findings: Errors first.
        pretraining: Whether labels are not needed.
    """

    labelled: int
    validation: int
    unlabelled: int
    findings: tuple[Finding, ...] = ()
    pretraining: bool = False

    @property
    def hasErrors(self) -> bool:
        """Whether a training would fail."""
        return any(finding.severity == ERROR for finding in self.findings)

    def summary(self) -> str:
        """Say in one line what was found."""
        counts = _(
            "Labelled: {labelled} to learn from, {validation} for validation. Unlabelled: {unlabelled}."
        ).format(labelled=self.labelled, validation=self.validation, unlabelled=self.unlabelled)
        if self.pretraining:
            counts = _("To learn from, without labels: {count}.").format(count=self.unlabelled)
        errors = sum(finding.severity == ERROR for finding in self.findings)
        warnings = len(self.findings) - errors
        if errors:
            return _("{counts} Errors to mend first: {errors}.").format(counts=counts, errors=errors)
        if warnings:
            return _("{counts} Warnings: {warnings}.").format(counts=counts, warnings=warnings)
        return _("{counts} All is well.").format(counts=counts)


def casesCheck(
    answer: Mapping[str, Any],
    start: ModelCard | None = None,
    *,
    usesUnlabelled: bool = False,
    pretraining: bool = False,
) -> CasesCheck:
    """Return what the worker's command ``check`` answered, with what our own knowledge adds.

    Args:
        answer: ``problems``, ``labelled``, ``validation``, ``unlabelled``, ``channel_names``, ``labels``.
        start: The start model; ``None`` for none.
        usesUnlabelled: Whether the method learns from unlabelled scans.
        pretraining: Whether labels are not needed.
    """
    counts = {name: int(answer.get(name) or 0) for name in ("labelled", "validation", "unlabelled")}
    findings = [
        Finding(str(problem["severity"]), str(problem.get("case") or ""), str(problem["text"]))
        for problem in answer.get("problems") or ()
    ]
    readable = not any(finding.severity == ERROR and not finding.case for finding in findings)
    if readable:
        findings += _ofScans(counts["unlabelled"]) if pretraining else []
        findings += _ofCounts(**counts, usesUnlabelled=usesUnlabelled) if not pretraining else []
        findings += _ofStart(answer, start) if start is not None else []
    ordered = sorted(findings, key=lambda finding: finding.severity != ERROR)
    return CasesCheck(**counts, findings=tuple(ordered), pretraining=pretraining)


def _ofScans(count: int) -> list[Finding]:
    if count:
        return []
    text = _("There is no scan to learn from. Choose a folder of scans, with or without labels.")
    return [Finding(ERROR, "", text)]


def _ofCounts(*, labelled: int, validation: int, unlabelled: int, usesUnlabelled: bool) -> list[Finding]:
    if labelled == 0:
        text = _("There is no labelled case to learn from. Accept at least one case in the section Cases.")
        return [Finding(ERROR, "", text)]
    findings = []
    if validation == 0:
        text = _("There is no labelled case left for validation, so old and new model cannot be compared.")
        if labelled == 1:
            text += " " + _("Two labelled cases are enough for that.")
        findings.append(Finding(WARNING, "", text))
    if usesUnlabelled and unlabelled == 0:
        text = _(
            "There are no unlabelled scans, which this method learns from. Add a folder of scans, or choose "
            "a method that needs none."
        )
        findings.append(Finding(WARNING, "", text))
    return findings


def _ofStart(answer: Mapping[str, Any], start: ModelCard) -> list[Finding]:
    findings = []
    labels = answer.get("labels")
    table = LabelTable.from_json(labels) if labels else None
    same = table is None or (table.names, table.values) == (start.labels.names, start.labels.values)
    if table is not None and not same and not is_pretraining(start):
        text = _(
            "The cases are labelled with {cases}; the start model knows {model}. Choose a start model with "
            "the same labels, or train from scratch."
        ).format(cases=table.in_words(), model=start.labels.in_words())
        findings.append(Finding(ERROR, "", text))
    channels: Sequence[str] = answer.get("channel_names") or ()
    if channels and len(channels) != len(start.channel_names):
        text = _(
            "The cases have {found} image channels ({names}); the start model expects {expected} ({wanted}). "
            "Choose another start model, or train from scratch."
        ).format(
            found=len(channels), names=", ".join(channels),
            expected=len(start.channel_names), wanted=", ".join(start.channel_names),
        )  # fmt: skip
        findings.append(Finding(ERROR, "", text))
    elif channels and not in_same_order(start.channel_names, channels):
        findings.append(_ofChannelNames(channels, start.channel_names))
    return findings


def _ofChannelNames(found: Sequence[str], wanted: Sequence[str]) -> Finding:
    """Channels at other places would be taken for one another; names that are new may mean the same."""
    names = {"found": ", ".join(found), "wanted": ", ".join(wanted)}
    if in_other_order(wanted, found):
        text = _(
            "The image channels of the cases are {found}; the start model expects {wanted}, in this order. "
            "Choose another start model, or train from scratch."
        )
        return Finding(ERROR, "", text.format(**names))
    text = _(
        "The image channels of the cases are named {found}, those of the start model {wanted}. They are "
        "taken in this order; choose another start model if they are not the same."
    )
    return Finding(WARNING, "", text.format(**names))
