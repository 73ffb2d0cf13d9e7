"""A tiny model, once for all tests of commands, and a fresh cases folder for each."""

from __future__ import annotations

from pathlib import Path

import pytest

from phantoms import write_cases_folder
from tiny_models import save_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("models") / "ellipsoids")


@pytest.fixture
def cases_folder(tmp_path: Path) -> Path:
    return write_cases_folder(tmp_path / "cases", labelled=1, unlabelled=1)
