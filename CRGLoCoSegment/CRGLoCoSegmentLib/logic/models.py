"""The models on this computer: bundled ones and the user's own; which one is current; zip in and out."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from crgloco.errors import ModelError
from crgloco.model_card import ModelCard
from crgloco.model_store import CARD, WEIGHTS, is_pretraining, looks_like_model, read_card
from CRGLoCoSegmentLib.logic.task import Task

if TYPE_CHECKING:
    from CRGLoCoSegmentLib.background.worker import Worker
    from CRGLoCoSegmentLib.logic.listeners import Listeners
    from CRGLoCoSegmentLib.settings import Settings


class Models:
    """The list that the panel shows, read from the cards alone; no torch is needed.

    Args:
        bundled: Folder of the models that come with the module; never written to.
        settings: Hold ``modelsFolder``, and ``currentModel`` for the next start.
        files: Worker that packs and unpacks zip files.
        listeners: Hear ``"models"`` when the list or the current model changed.
    """

    def __init__(
        self, bundled: Path, *, settings: "Settings", files: "Worker", listeners: "Listeners"
    ) -> None:
        self.bundled = bundled
        self._settings, self._files, self._listeners = settings, files, listeners
        # Read once: in another Slicer of this user another model may be chosen, which nobody sees here.
        chosen = settings.folder("currentModel")
        self._chosen = chosen if chosen is not None and _mark(chosen) is not None else None
        self._known: dict[Path, tuple[Any, ModelCard | ModelError]] = {}

    @property
    def folder(self) -> Path:
        """Where imported and fine-tuned models go; need not exist yet."""
        return self._settings.folder("modelsFolder") or _defaultFolder()

    def list(self) -> list[tuple[Path, "ModelCard | ModelError"]]:
        """Return all models by folder, also the chosen one elsewhere; a damaged one comes with its error."""
        found = [folder for parent in (self.bundled, self.folder) for folder in inside(parent)]
        if self._chosen is not None and self._chosen not in found:
            found.append(self._chosen)
        return [(folder, self._cardOrError(folder)) for folder in found if looks_like_model(folder)]

    def segmenting(self) -> "list[tuple[Path, ModelCard | ModelError]]":
        """Return ``list`` without the pre-trained starts, which only fine-tuning can use."""
        return [(folder, card) for folder, card in self.list() if not _isStart(card)]

    def card(self, model: Path | None = None) -> ModelCard:
        """Return the card of a model, the current one's by default.

        Raises:
            ModelError: There is no such model, or it is damaged.
        """
        card = self._cardOrError(self.resolve(model))
        if isinstance(card, ModelError):
            raise card
        return card

    def resolve(self, model: Path | None = None) -> Path:
        """Return a model's folder, the current one's by default.

        Raises:
            ModelError: There is no model at all, or the chosen one is gone.
        """
        if model is None:
            self._assertStillThere()
        folder = model or self.current
        if folder is None:
            msg = _("There is no model. Import one from a zip file, or choose the models folder.")
            raise ModelError(msg)
        return folder.absolute()  # the worker is in a folder of its own

    def _assertStillThere(self) -> None:
        """Refuse, once, to go on with another model than the one that was seen to be chosen."""
        gone = self._chosen
        if gone is None or _mark(gone) is not None:
            return
        self._chosen = None  # the settings keep it for the next start
        self._listeners.tell("models")
        msg = _("The chosen model is no longer at {path}. Look which one is chosen now, and start again.")
        raise ModelError(msg.format(path=gone))

    @property
    def current(self) -> Path | None:
        """The chosen model, else the first sound one."""
        chosen = self._chosen
        if chosen is not None and _mark(chosen) is not None and not _isStart(self._cardOrError(chosen)):
            return chosen
        sound = [folder for folder, card in self.segmenting() if isinstance(card, ModelCard)]
        return sound[0] if sound else None

    @current.setter
    def current(self, folder: Path | None) -> None:
        if folder != self._chosen:
            self._choose(folder)
            self._listeners.tell("models")

    def _choose(self, folder: Path | None) -> None:
        self._chosen = folder
        self._settings.set("currentModel", str(folder) if folder else None)

    def changed(self) -> None:
        """Say that models came or went, for example after fine-tuning; look again at the damaged ones."""
        # Whoever gives back the right to read a card does not change it.
        self._known = {path: known for path, known in self._known.items() if isinstance(known[1], ModelCard)}
        self._listeners.tell("models")

    def importZip(
        self, zipPath: Path, *, onFinished: Callable[[Path], None] | None = None, onFailed: Any = None
    ) -> Task:
        """Install a model from a zip file into ``folder``; the value is its folder.

        It becomes the current one, unless it is a pre-trained start.
        """
        task = Task(zipPath.name, onFinished=onFinished, onFailed=onFailed)

        def take(answer: dict[str, Any]) -> None:
            if not _isStart(self._cardOrError(Path(answer["path"]))):
                self._choose(Path(answer["path"]))
            self._listeners.tell("models")
            task.finish(Path(answer["path"]))

        task.ask(
            self._files, "import_model", {"zip": str(zipPath.absolute()), "into": str(self.folder)}, take
        )
        return task

    def exportZip(
        self,
        model: Path,
        zipPath: Path,
        *,
        overwrite: bool = False,
        onFinished: Callable[[Path], None] | None = None,
        onFailed: Any = None,
    ) -> Task:
        """Write a model as a zip file to hand to a colleague; the value is the zip's path."""
        task = Task(zipPath.name, onFinished=onFinished, onFailed=onFailed)
        fields = {"model": str(model.absolute()), "zip": str(zipPath.absolute()), "overwrite": overwrite}
        task.ask(self._files, "export_model", fields, lambda answer: task.finish(Path(answer["zip"])))
        return task

    def _cardOrError(self, folder: Path) -> "ModelCard | ModelError":
        """Read a card once; again only when the file changed."""
        mark = _mark(folder)
        known = self._known.get(folder)
        if known is None or known[0] != mark:
            known = self._known[folder] = (mark, _read(folder))
        return known[1]


def _isStart(card: "ModelCard | ModelError") -> bool:
    return isinstance(card, ModelCard) and is_pretraining(card)


def _defaultFolder() -> Path:
    """A folder that users find again, on every system."""
    return Path.home() / "CRGLoCoSegment" / "models"


def inside(folder: Path) -> "list[Path]":
    """Return what lies in a folder, sorted; nothing if it is not there or cannot be read."""
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError:
        return []


def _mark(folder: Path) -> tuple[int, int, bool] | None:
    """What changes when a card does."""
    try:
        status = (folder / CARD).stat()
        return status.st_mtime_ns, status.st_size, (folder / WEIGHTS).is_file()
    except OSError:
        return None


def _read(folder: Path) -> ModelCard | ModelError:
    try:
        card = read_card(folder)
    except ModelError as error:
        return error
    if not (folder / WEIGHTS).is_file():
        msg = _("{folder} holds no {name}. Copy or import the model again.")
        return ModelError(msg.format(folder=folder, name=WEIGHTS))
    return card
