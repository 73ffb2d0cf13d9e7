"""Opening the module costs Slicer little: nothing heavy is loaded, nothing runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, sys, time
from slicer_host.install import installed
host = installed()
import slicer
start = time.process_time()
module = host.loadModule()
loaded = time.process_time()
widget = module.widgetRepresentation().self()
opened = time.process_time()
for section in widget.sections.values():
    section.open()
    assert section.panel is not None, section.name
print(json.dumps({
    "loading": loaded - start, "opening": opened - loaded, "modules": sorted(sys.modules),
    "children": [one.pid for one in __import__("psutil").Process().children()],
}))
host.unloadModules()
"""
HEAVY = {"torch", "monai", "SimpleITK", "scipy", "pydicom", "matplotlib"}


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a fresh process sees that opens the module and every panel."""
    folder = Path(__file__).parent
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.strip().splitlines()[-1])


def test_opening_every_panel_loads_neither_torch_nor_other_heavy_packages(seen: dict):
    assert not HEAVY & set(seen["modules"])


def test_loading_the_module_at_slicers_start_is_a_matter_of_milliseconds(seen: dict):
    assert seen["loading"] < 0.2


def test_opening_the_module_takes_less_than_a_blink(seen: dict):
    # Seconds of a processor; 0.2 is the promise for a computer of today.
    assert seen["opening"] < 0.6


def test_opening_every_panel_starts_no_process(seen: dict):
    assert seen["children"] == []
