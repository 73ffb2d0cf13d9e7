"""The made-up scans that other tests lean on."""

import numpy as np
import pytest
import SimpleITK as sitk

import phantoms


@pytest.mark.parametrize("seed", range(5))
def test_a_phantom_holds_both_classes_and_the_image_tells_them_apart(seed):
    image, label = phantoms.two_ellipsoids(seed=seed)
    assert (image.dtype, label.dtype) == (np.float32, np.uint8)
    assert image.shape == label.shape == (24, 32, 32)
    assert set(np.unique(label)) == {0, 1, 2}
    means = [image[label == value].mean() for value in (0, 1, 2)]
    assert means == pytest.approx([0, 100, 200], abs=3)


def test_a_seed_gives_the_same_phantom_again_and_another_seed_another():
    first, again, other = (phantoms.two_ellipsoids(seed=seed)[0] for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_cases_folder_has_the_asked_number_of_images_and_labels(tmp_path):
    folder = phantoms.write_cases_folder(tmp_path / "a folder", labelled=2, unlabelled=1, shape=(8, 10, 12))
    assert [file.name for file in sorted(folder.rglob("*.nii.gz"))] == [
        "phantom_000_0000.nii.gz",
        "phantom_001_0000.nii.gz",
        "phantom_002_0000.nii.gz",
        "phantom_000.nii.gz",
        "phantom_001.nii.gz",
    ]
    label = sitk.ReadImage(str(folder / "labelsTr" / "phantom_001.nii.gz"))
    assert label.GetSize() == (12, 10, 8)
    assert label.GetSpacing() == (1.0, 1.0, 2.0)
