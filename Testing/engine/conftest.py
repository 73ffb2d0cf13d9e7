"""What all engine tests share: repeatable arithmetic, patient property tests, and the real scans."""

import os
import sys
from pathlib import Path

# Before torch or MKL start, here and in programs that tests start: sums do not depend on the cores.
os.environ.setdefault("OMP_NUM_THREADS", "2")
# Threads that wait sleep instead of spinning: on busy cores the tests are twenty times faster.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).parents[2]

# The machine may be shared: a slow draw says nothing about our code.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _repeatable_randomness() -> None:
    """Engine code takes its generator as an argument; the initial weights of torch's layers do not."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A cases folder of five labelled and two unlabelled phantoms of 6 x 8 x 8 voxels."""
    from phantoms import write_cases_folder

    return write_cases_folder(tmp_path / "cases", 5, 2, shape=(6, 8, 8))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real scans; tests that ask for it are skipped where there is none."""
    root = Path(os.environ.get("CRGLOCO_DATA", REPOSITORY.parent / "shared" / "data"))
    root = root if root.is_absolute() else REPOSITORY / root
    if not root.is_dir():
        pytest.skip(f"no real scans at {root}: name their folder by the variable CRGLOCO_DATA")
    return root


@pytest.fixture
def no_text(tmp_path: Path) -> str:
    """A file name whose letters are not UTF-8; tests that ask for it are skipped where there can be none."""
    name = os.fsdecode(b"M\xfcller")
    try:
        (tmp_path / name).touch()
        (tmp_path / name).unlink()
    except (OSError, ValueError):
        pytest.skip("this file system takes no such name")
    return name
