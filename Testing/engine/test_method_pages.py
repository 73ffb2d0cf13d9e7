"""Every method has a page: where it differs from its publication, and the test that shows each promise."""

import re
from pathlib import Path

import pytest

from crgloco import methods

FOLDER = Path("docs") / "methods"


def page_of(repository: Path, name: str) -> str:
    return (repository / FOLDER / f"{name}.md").read_text(encoding="utf-8")


def checklist(page: str) -> list[list[str]]:
    """The rows of the table under the heading Checklist, without its head."""
    rows = re.findall(r"^\|(.+)\|$", page.partition("\n## Checklist\n")[2], flags=re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


@pytest.mark.parametrize("name", methods.available())
def test_a_method_has_a_page_that_says_what_the_paper_does_what_we_do_and_why(name, repository):
    page = page_of(repository, name)
    assert f"crgloco/methods/{name}.py" in page
    assert re.search(r"^\| part \| .+ \| here \| why \|$", page, flags=re.MULTILINE)
    assert f"--method {name}" in page


@pytest.mark.parametrize("name", methods.available())
def test_every_line_of_a_checklist_names_its_test_or_is_called_a_deviation(name, repository):
    rows = checklist(page_of(repository, name))
    assert len(rows) >= 4
    for promise, shown in rows:
        assert promise
        assert re.search(r"`test_\w+`|^deviation", shown), promise


def test_every_test_that_a_page_names_exists(repository):
    sources = [file.read_text(encoding="utf-8") for file in (repository / "Testing").rglob("test_*.py")]
    existing = set(re.findall(r"^def (test_\w+)\(", "\n".join(sources), flags=re.MULTILINE))
    named = {
        name
        for file in (repository / FOLDER).glob("*.md")
        for name in re.findall(r"`(test_\w+)`", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 50
    assert named - existing == set()


def test_there_is_no_page_of_a_method_that_is_not_there(repository):
    assert {file.stem for file in (repository / FOLDER).glob("*.md")} == set(methods.available())


def test_adapted_methods_say_so_in_their_title():
    titles = {name: methods.card(name).title for name in methods.available()}
    assert titles["local_contrastive"].endswith("(adapted to 3-D)")
    assert titles["mcsc"].endswith("(adapted to 3-D)")
    assert titles["versemi"].endswith("(structures as tasks, adapted)")
    assert "re-implemented from the paper's description" in methods.card("pgl").reference
