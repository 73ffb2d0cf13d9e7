"""What a user wants to be trained, and the names under which it is kept."""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from crgloco import methods
from crgloco.atomic import PART
from crgloco.errors import OptionError
from crgloco.file_names import as_one_file, is_reserved
from crgloco.job_file import Job
from crgloco.options import from_mapping

LONGEST_NAME = 80  # characters of a folder's name
PRETRAINING = "pretraining"


@dataclass(frozen=True)
class TrainingRequest:
    """One training as it is asked for; paths may be given as text, as scripts write them.

    Attributes:
        title: Name of the new model; its folder is named after it.
        casesFolder: Labelled cases, and unlabelled ones among them; for pre-training any folder of scans.
        unlabelledFolders: Further unlabelled scans.
        startModel: Folder of the model to start from; ``None`` trains from scratch.
        method: Name of the method; the default one if empty.
        configName: A named configuration of the method.
        options: Options that differ from it.
        iterations: Updates; ``None`` for as many as suit configuration, start model and cases.
        minutes: The training ends after this time, if the updates have not ended it before.
        device: ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``.
        seed: Of everything random.
        keepRunning: Train on when Slicer is closed.
    """

    title: str
    casesFolder: Path
    unlabelledFolders: tuple[Path, ...] = ()
    startModel: Path | None = None
    method: str = ""
    configName: str = "default"
    options: dict[str, Any] = field(default_factory=dict)
    iterations: int | None = None
    minutes: float | None = None
    device: str = "auto"
    seed: int = 0
    keepRunning: bool = False

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the one way into a frozen value
        set_(self, "casesFolder", Path(self.casesFolder))
        set_(self, "unlabelledFolders", tuple(map(Path, self.unlabelledFolders)))
        set_(self, "startModel", Path(self.startModel) if self.startModel else None)

    @property
    def isPretraining(self) -> bool:
        """Whether scans without labels teach a start for other trainings."""
        return methods.card(self.method or methods.DEFAULT).kind == PRETRAINING

    @property
    def usesUnlabelled(self) -> bool:
        """Whether the method, with these options, learns from unlabelled scans."""
        card = methods.card(self.method or methods.DEFAULT)
        defaults = {option["name"]: option["default"] for option in card.to_json()["options"]}
        values = defaults | card.configurations.get(self.configName, {}) | self.options
        return int(values.get("unlabelled_batch", 0)) > 0

    def toJob(self, out: Path) -> Job:
        """Return it as a job of the engine.

        Args:
            out: The new model's folder.

        Raises:
            OptionError: There is no such method, configuration or option, or a value is out of range.
        """
        card = methods.card(self.method or methods.DEFAULT)
        if self.configName not in card.configurations:
            msg = _("The method {method} has no configuration {name}.")
            raise OptionError(msg.format(method=card.title, name=self.configName))
        options = dict(self.options)
        from_mapping(card.config, {**card.configurations[self.configName], **options})
        return Job(
            cases=self.casesFolder,
            method=card.name,
            out=out,
            unlabelled=self.unlabelledFolders,
            config_name=self.configName,
            config=options,
            iterations=self.iterations,
            minutes=self.minutes,
            seed=self.seed,
            start=self.startModel,
            device=self.device,
            title=self.title.strip(),
        )


def folderName(title: str) -> str:
    """Return a folder's name that every system accepts; empty if the title has no letter or digit.

    It never ends as the names of models do that are half written: no list would show it.
    """
    plain = re.sub(r"[^\w.-]+", "_", title.strip()).strip("._-")[:LONGEST_NAME].rstrip("._-")
    plain = f"_{plain}" if is_reserved(plain) else plain
    return f"{plain}_" if plain.endswith(PART) else plain


def proposedTitle(startTitle: str, taken: Collection[str], today: date, *, pretraining: bool = False) -> str:
    """Return a name for the new model that says where it comes from and is not in use.

    Args:
        startTitle: Name of the start model; empty for none.
        taken: Folder names in use.
        today: Stands in the name.
        pretraining: Whether it will be a start for other trainings.
    """
    template = _("{title} pre-trained {date}") if pretraining else _("{title} fine-tuned {date}")
    if startTitle:
        # Date and number must stand in the folder's name too: what is beyond its end makes no name unique.
        room = LONGEST_NAME - len(template.format(title="", date=today.isoformat()) + " (99)")
        start = _withoutEarlier(startTitle, template)[:room].strip()
        title = template.format(title=start, date=today.isoformat())
    else:
        new = _("Pre-trained {date}") if pretraining else _("New model {date}")
        title = new.format(date=today.isoformat())
    known = {as_one_file(name) for name in taken}
    number, unique = 1, title
    while as_one_file(folderName(unique)) in known:
        number += 1
        unique = f"{title} ({number})"
    return unique


def _withoutEarlier(title: str, template: str) -> str:
    """A model that was fine-tuned before does not collect one date after the other."""
    pattern = re.escape(template).replace(r"\{title\}", "(.+)").replace(r"\{date\}", r"\d{4}-\d\d-\d\d")
    found = re.fullmatch(pattern + r"( \(\d+\))?", title)
    return found[1] if found else title
