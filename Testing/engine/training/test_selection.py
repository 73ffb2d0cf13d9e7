"""Who teaches and who measures: no scan in both roles, whatever folder it comes from."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from crgloco.data.case_split import draw_split
from crgloco.data.cases import Case, open_cases
from crgloco.data.manifest import read_manifest, write_manifest
from crgloco.data.provenance import Provenance
from crgloco.errors import CasesError
from crgloco.job_file import Job
from crgloco.training.selection import Selection, select_cases, select_scans
from phantoms import names, write_cases_folder


def selected(
    root: Path, *unlabelled: Path, labelled: int | None = None, method: str = "supervised"
) -> Selection:
    select = select_scans if method == "pgl" else select_cases
    out = root.with_name("model")
    job = Job(cases=root, method=method, out=out, unlabelled=unlabelled, labelled=labelled)
    return select(job, root.with_name("split.json"))


def image(root: Path, name: str) -> Path:
    return next(root.glob(f"images*/{name}_0000.nii.gz"))


@pytest.mark.parametrize("method", ["supervised", "pgl"])
def test_an_unlabelled_scan_that_is_a_validation_case_never_teaches(
    root: Path, tmp_path: Path, method: str
) -> None:
    plain = selected(root, method=method)
    (measuring,) = plain.validation
    others = tmp_path / "others"
    others.mkdir()
    shutil.copy(image(root, measuring.name), others / "innocent.nii.gz")
    shutil.copy(image(root, measuring.name), root / "imagesUl" / "inside_0000.nii.gz")
    leaky = selected(root, others, method=method)
    assert (leaky.labelled, leaky.unlabelled) == (plain.labelled, plain.unlabelled)
    assert len(leaky.left_out) == 2
    for text in leaky.left_out:
        assert measuring.channels[0].path.name in text


def test_validation_cases_beyond_the_labels_that_are_used_do_not_come_back_either(
    root: Path, tmp_path: Path
) -> None:
    (measuring,) = selected(root).validation
    everything = tmp_path / "everything"
    shutil.copytree(root / "imagesTr", everything)
    few = selected(root, everything, labelled=1)
    assert measuring.name not in {*names(few.labelled), *names(few.unlabelled)}
    # The other labelled cases teach without their labels, once each.
    scans = [*few.labelled, *few.unlabelled, measuring]
    assert len({case.name for case in scans}) == len(scans) == 7


def test_labelled_cases_need_not_appear_twice_and_others_of_the_same_name_may(
    root: Path, tmp_path: Path
) -> None:
    others = write_cases_folder(tmp_path / "others", 6, 2, shape=(6, 8, 8))
    image(others, "phantom_000").rename(others / "imagesTr" / "phantom_100_0000.nii.gz")
    image(others, "phantom_007").rename(others / "imagesUl" / "phantom_000_0000.nii.gz")
    found = selected(root, others)
    assert names(found.unlabelled) == ["phantom_005", "phantom_006", "phantom_000-2"]
    assert len(found.left_out) == 7


def without_its_label(root: Path, others: Path, method: str) -> tuple[Case, Path]:
    """The validation case, which loses its label, and an empty folder for further scans."""
    (measuring,) = selected(root, method=method).validation
    assert measuring.label is not None
    measuring.label.unlink()
    others.mkdir()
    return measuring, others


@pytest.mark.parametrize("method", ["supervised", "pgl"])
@pytest.mark.parametrize("lost", ["its label", "everything"])
def test_a_validation_case_that_is_lost_is_named_and_does_not_teach(
    root: Path, tmp_path: Path, method: str, lost: str
) -> None:
    measuring, others = without_its_label(root, tmp_path / "others", method)
    if lost == "everything":
        measuring.channels[0].path.unlink()
    else:
        shutil.copy(measuring.channels[0].path, others / "innocent.nii.gz")
    further = () if lost == "everything" else (others,)
    found = selected(root, *further, method=method)
    assert found.validation == ()
    assert measuring.name in found.left_out[0]
    assert not {measuring.name, "innocent"} & {*names(found.labelled), *names(found.unlabelled)}


@pytest.mark.parametrize("method", ["supervised", "pgl"])
def test_a_scan_named_like_a_lost_validation_case_may_be_it_and_does_not_teach(
    root: Path, tmp_path: Path, method: str
) -> None:
    measuring, others = without_its_label(root, tmp_path / "others", method)
    measuring.channels[0].path.rename(others / f"{measuring.name}.nii.gz")
    found = selected(root, others, method=method)
    assert measuring.name not in {*names(found.labelled), *names(found.unlabelled)}
    assert any(str(others) in text for text in found.left_out)
    assert not any("does not teach" in text for text in found.left_out)


def test_a_structure_that_only_validation_labels_show_is_refused(root: Path) -> None:
    folder = draw_split(open_cases(root))
    (measuring,) = folder.validation
    manifest = read_manifest(root)
    shown = {
        case.name: (Provenance(structures=None if case.name == measuring else ("large",)),)
        for case in folder.labelled
    }
    write_manifest(root, replace(manifest, provenance=shown))
    with pytest.raises(CasesError, match="No label to learn from shows small"):
        selected(root, method="versemi")


def test_a_label_that_belongs_to_no_case_is_named(root: Path) -> None:
    labels = root / "labelsTr"
    (labels / "lonely.nii.gz").write_bytes(b"")
    (labels / "phantom_007.nii").write_bytes(b"")
    (labels / "notes.txt").write_text("")
    lonely, other = selected(root).left_out
    assert lonely == f"The label {labels / 'lonely.nii.gz'} is left out: there is no image of that name."
    assert str(labels / "phantom_007.nii") in other
    assert other.endswith("dataset.json says that files end in .nii.gz.")
