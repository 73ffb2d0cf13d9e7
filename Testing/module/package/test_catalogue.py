"""The catalogue entry and what the catalogue's own checks read of the repository."""

import json
import re
import struct
import subprocess
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).parents[3]
# Slicer's public contract: a copy of Schemas/ in github.com/Slicer/Slicer, August 2026.
SCHEMA = Path(__file__).parent / "slicer-extension-catalog-entry-schema-v1.0.2.json"
ENTRY = ROOT / "CRGLoCoSegment.json"
CMAKE = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")

# The catalogue's own expressions (ExtensionsIndex, scripts/check_description_files.py).
NAME = r"project\s*\(\s*([^\s\)\n\r]+)"
ICON = r'set\s*\(EXTENSION_ICONURL\s*"([^"]+)"[ ]*\)'
SCREENSHOTS = r'set\s*\(EXTENSION_SCREENSHOTURLS\s*"([^"]+)"\)'


@pytest.fixture(scope="module")
def entry():
    return json.loads(ENTRY.read_text(encoding="utf-8"))


def only(pattern):
    """The one match in the top CMakeLists.txt."""
    (found,) = re.findall(pattern, CMAKE, re.IGNORECASE | re.MULTILINE)
    return found


def file_of(url):
    """The file of this repository that a raw address shows on the main branch."""
    start = "https://raw.githubusercontent.com/CRGLoCoSegment/SlicerCRGLoCoSegment/main/"
    assert url.startswith(start), url
    return ROOT / url.removeprefix(start)


def size_of(png):
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n", png
    return struct.unpack(">II", content[16:24])


def test_the_entry_follows_slicers_schema(entry):
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft7Validator(schema).validate(entry)
    assert entry["$schema"] == schema["$id"]


@pytest.mark.parametrize(
    "wrong", [{"tier": 6}, {"build_dependencies": "PyTorch"}, {"homepage": "https://a.b"}]
)
def test_the_schema_refuses_what_the_catalogue_would_refuse(entry, wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**entry, **wrong}, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_entry_has_line_feeds_only_and_ends_with_one():
    content = ENTRY.read_bytes()
    assert b"\r" not in content
    assert content.endswith(b"}\n")


def test_names_of_project_entry_and_repository_fit(entry):
    assert only(NAME) == ENTRY.stem == "CRGLoCoSegment"
    assert not ENTRY.stem.lower().startswith("slicer")
    repository = entry["scm_url"].rpartition("/")[2].removesuffix(".git")
    assert repository.startswith("Slicer")
    assert entry["scm_url"].startswith("https://")
    assert entry["category"] == "Segmentation"


def test_the_icon_is_a_png_of_128_by_128():
    assert size_of(file_of(only(ICON))) == (128, 128)


def test_every_screenshot_of_the_catalogue_is_in_the_repository():
    addresses = only(SCREENSHOTS)
    assert addresses == " ".join(addresses.split()), "parted by single blanks"
    for url in addresses.split(" "):
        width, height = size_of(file_of(url))
        assert width >= 128
        assert height >= 128


def test_a_licence_lies_in_the_root():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_the_checked_out_files_stay_far_below_the_catalogues_100_megabytes():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert sum(path.stat().st_size for path in files if path.is_file()) < 40 * 2**20
