"""Take the README's pictures: the real panel, workers and views, walked through as a clinician does.

.venv/bin/python Testing/host/screenshots.py        writes Resources/Screenshots/*.png (some minutes)
"""

import os
import sys
import tempfile
from pathlib import Path

for _folder in ("CRGLoCoSegment", "Testing/host"):
    sys.path.insert(0, str(Path(__file__).parents[2] / _folder))

from slicer_host.install import installed  # noqa: E402 (after the path)

FOLDER = Path(__file__).parents[2] / "Resources" / "Screenshots"
PANEL_WIDTH = 440
UPDATES = 60
SECTIONS = {"segment": "segment", "correct": "correct", "accept": "cases", "fine_tune": "fineTune"}


def main() -> int:
    """Walk the loop, and take a picture of the section or the views after each step."""
    host = installed()
    host.showMainWindow()
    layouts = host.makeLayoutManager()
    FOLDER.mkdir(parents=True, exist_ok=True)

    from loop import Loop

    with tempfile.TemporaryDirectory() as work:
        walked: list[Loop] = []

        def step(name: str) -> None:
            if walked:
                picture(walked[0], name)

        def picture(loop: Loop, name: str) -> None:
            if name == "compare":
                layouts.resize(1100, 620)
                layouts.grab(FOLDER / "compare_views.png")
                _section(host, loop, "compare", FOLDER / "compare.png")
            elif name in SECTIONS:
                _section(host, loop, SECTIONS[name], FOLDER / f"{name}.png")

        loop = Loop(host, Path(work), step)
        walked.append(loop)
        loop.load("chaos_32")
        loop.segment()
        loop.compare()
        loop.correct()
        loop.accept()
        loop.fineTune(UPDATES)
        loop.close()
    return 0


def _section(host: object, loop: object, name: str, path: Path) -> None:
    """Draw one section with all others closed."""
    for each, section in loop.widget.sections.items():
        section.button.collapsed = each != name
    host.processEvents()
    section = loop.widget.sections[name]
    host.picture(section.button, path, width=PANEL_WIDTH)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # Qt's and VTK's own clean-up at exit is of no use to a script
