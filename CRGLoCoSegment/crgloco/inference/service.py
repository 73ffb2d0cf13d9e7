"""What commands and requests ask of a model; the last model stays warm between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from crgloco import model_store
from crgloco.channels import assert_same_order
from crgloco.data.case_files import UNLABELLED
from crgloco.data.cases import open_cases
from crgloco.data.manifest import DATASET, read_dataset
from crgloco.data.scans import find_scans
from crgloco.errors import CasesError
from crgloco.inference import folder
from crgloco.inference.device import choose_device
from crgloco.inference.estimate import Estimate, estimate
from crgloco.inference.predictor import MEMORY_BUDGET_GB, Predictor, Quality
from crgloco.io.volume import Geometry
from crgloco.progress import Reporter

if TYPE_CHECKING:
    import torch

    from crgloco.data.cases import Case
    from crgloco.model_card import ModelCard

Answer = dict[str, Any]


class Work(TypedDict, total=False):
    """What decides on the work; what is left out is as in ``Service.job``.

    Attributes:
        quality: ``"fast"``, ``"balanced"`` or ``"full"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        memory_gb: Memory of the process to stay below.
    """

    quality: Quality
    device: str
    memory_gb: float


class How(Work, total=False):
    """Every choice of whoever wants scans segmented.

    Attributes:
        keep_islands: Leave the islands of structures that are one piece.
    """

    keep_islands: bool


@dataclass(frozen=True)
class Warm:
    """A model that is ready.

    Attributes:
        folder: Where it came from.
        card: Its card; the hash in it tells when the folder holds another model.
        device: Where it was asked to run.
        predictor: What segments.
    """

    folder: Path
    card: ModelCard
    device: torch.device
    predictor: Predictor


class Service:
    """Predicts, ranks and estimates; keeps one model in memory."""

    def __init__(self) -> None:
        self._warm: Warm | None = None

    def load(self, model: Path, device: str = "auto", report: Reporter | None = None) -> Warm:
        """Return the model, from memory if folder, weights and device are those of the last time.

        Args:
            model: The model's folder.
            device: As in ``Work``.
            report: Hears a ``message`` if there is a GPU that does not work.

        Raises:
            ModelError: The model cannot be used.
            ResourceError: There is no such device.
        """
        card, where = model_store.read_card(model), choose_device(device, report)
        warm: Warm | None = self._warm
        if warm is None or (warm.folder, warm.card, warm.device) != (model.absolute(), card, where):
            self._warm = warm = None  # two models at once may be more than the GPU holds
            self._warm = warm = _warmed(model, where)
        return warm

    def unload(self) -> None:
        """Forget the model."""
        self._warm = None

    def predict(
        self,
        model: Path,
        scans: Path | Sequence[Case],
        out: Path,
        *,
        report: Reporter,
        **how: Unpack[How],
    ) -> Answer:
        """Segment scans into a folder; returns what ``predictions.json`` holds.

        Args:
            model: The model's folder.
            scans: Whatever ``find_scans`` understands, or cases.
            out: Folder of the results.
            report: Hears of progress, may stop.
            how: See ``How``.

        Raises:
            ModelError: The model cannot be used, or a cases folder has its channels in another order.
        """
        cases = _cases(model, scans)
        return folder.predict_folder(self.job(model, report=report, **how), cases, out, report)

    def rank(
        self,
        model: Path,
        scans: Path | Sequence[Case],
        out: Path | None = None,
        *,
        report: Reporter,
        **how: Unpack[How],
    ) -> Answer:
        """Order scans by the expected benefit of correcting them; arguments as of ``predict``.

        Of a cases folder, those are ranked that nobody has labelled yet.

        Raises:
            CasesError: All of its cases are labelled.
        """
        cases = _unlabelled(model, scans)
        return folder.rank(self.job(model, report=report, **how), cases, out, report)

    def estimate(
        self,
        model: Path,
        grid: Geometry,
        *,
        quality: Quality = "balanced",
        device: str = "auto",
        memory_gb: float = MEMORY_BUDGET_GB,
    ) -> Estimate:
        """Return what a prediction will take, see ``predict``; the model need not be loaded for it."""
        card = model_store.read_card(model)
        model_store.assert_segments(card, model)
        return estimate(card, grid, quality, choose_device(device), budget_gb=memory_gb)

    def job(
        self,
        model: Path,
        *,
        report: Reporter,
        quality: Quality = "balanced",
        device: str = "auto",
        memory_gb: float = MEMORY_BUDGET_GB,
        keep_islands: bool = False,
    ) -> folder.FolderJob:
        """Return how to segment with a model, loaded if it is not warm; see ``How``."""
        report.event("progress", stage="loading the model", done=0, total=1)
        warm = self.load(model, device, report)
        report.check()
        card = warm.card
        return folder.FolderJob(
            warm.predictor,
            card.weights_sha256,
            quality,
            memory_gb,
            card.title,
            keep_islands=keep_islands and bool(warm.predictor.one_piece),
        )


def _warmed(model: Path, device: torch.device) -> Warm:
    loaded = model_store.load(model)
    return Warm(model.absolute(), loaded.card, device, Predictor.of(loaded, device))


def assert_channels_fit(model: Path, scans: Path) -> None:
    """Refuse a cases folder whose channels a model would take for one another; others name no channels.

    Raises:
        ModelError: The model cannot be used, or a channel of it has another place in the folder.
    """
    card = model_store.read_card(model)
    assert_same_order(f"The model {card.title}", card.channel_names, _names_in(scans))


def _names_in(scans: Path) -> tuple[str, ...]:
    if not (scans / DATASET).is_file():
        return ()
    try:
        return read_dataset(scans).channel_names
    except CasesError:  # scans alone are predicted without a description too
        return ()


def _unlabelled(model: Path, scans: Path | Sequence[Case]) -> Sequence[Case]:
    if not (isinstance(scans, Path) and (scans / DATASET).is_file()):
        return _cases(model, scans)
    assert_channels_fit(model, scans)
    cases = open_cases(scans).unlabelled
    if not cases:
        msg = f"{scans} has no unlabelled case to rank. Put scans into its folder {UNLABELLED}."
        raise CasesError(msg)
    return cases


def _cases(model: Path, scans: Path | Sequence[Case]) -> Sequence[Case]:
    if not isinstance(scans, Path):
        return scans
    assert_channels_fit(model, scans)
    return find_scans(scans, len(model_store.read_card(model).channel_names))
