"""Every oddity among the real scans goes through a prediction and comes back on its own grid."""

import numpy as np
import pytest
import SimpleITK as sitk

from crgloco import model_store
from crgloco.data.cases import Case
from crgloco.data.prediction_record import KINDS, file_name
from crgloco.inference.folder import FolderJob, predict_folder
from crgloco.inference.predictor import Predictor
from crgloco.io.files import find_volumes, read_source, source_geometry
from tiny_models import save_tiny_model

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> FolderJob:
    loaded = model_store.load(save_tiny_model(tmp_path_factory.mktemp("models") / "tiny"))
    # Voxels of 8 mm keep the test short; the way to the scan's own grid is the same.
    preparation = type(loaded.preparation)((8.0, 8.0, 8.0), loaded.preparation.rules)
    return FolderJob(
        Predictor(loaded.network, preparation, loaded.table), loaded.card.weights_sha256, "balanced"
    )


def predicted(job, sources, out):
    record = predict_folder(job, [Case(source.name, (source,)) for source in sources], out)
    assert record["failed"] == 0
    return {source.name: [out / file_name(source.name, kind) for kind in KINDS] for source in sources}


def header(path):
    image = sitk.ReadImage(str(path))
    return image.GetSize(), image.GetOrigin(), image.GetSpacing(), image.GetDirection()


def test_every_odd_grid_comes_back_bit_for_bit(job, data_root, tmp_path):
    folder = data_root / "geometry" / "images"
    sources = find_volumes(folder)
    assert len(sources) == 11
    for name, files in predicted(job, sources, tmp_path).items():
        for file in files:
            assert header(file) == header(folder / f"{name}.nii.gz"), file.name


def test_every_dicom_series_comes_back_on_its_grid(job, data_root, tmp_path):
    sources = [source for source in find_volumes(data_root / "dicom") if source.series_uid is not None]
    assert len(sources) == 5
    for source in sources:
        (files,) = predicted(job, [source], tmp_path / str(sources.index(source))).values()
        own = source_geometry(source)
        for file in files:
            size, origin, spacing, direction = header(file)
            assert size == own.shape[::-1]
            # NIfTI keeps float32, DICOM decimal text: one rounding, a ten-thousandth of a voxel at most.
            np.testing.assert_allclose(spacing[::-1], own.spacing, rtol=1e-6)
            np.testing.assert_allclose(origin, own.origin, rtol=1e-6, atol=1e-4)
            np.testing.assert_allclose(direction, np.ravel(own.direction), atol=1e-6)


def test_the_answer_has_the_voxels_of_the_scan(job, data_root):
    for source in find_volumes(data_root / "geometry" / "images")[:3]:
        volume = read_source(source)
        prediction = job.predictor.predict([volume], "balanced")
        assert prediction.fused.shape == prediction.confidence.shape == volume.array.shape
        assert prediction.geometry == volume.geometry
