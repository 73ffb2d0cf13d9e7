"""What the tests in the application share: a clean scene, folders and settings of their own, real samples."""

import importlib.util
import shutil
import tempfile
import unittest
from pathlib import Path

import slicer

MODULE = "CRGLoCoSegment"


class PrivateSettings:
    """Settings that leave those of the person who runs the tests alone."""

    def __init__(self, **values):
        self.values = values

    def get(self, key, default=None):
        return self.values.get(key, default)

    def set(self, key, value):
        self.values[key] = value

    def folder(self, key, default=None):
        return Path(self.values[key]) if self.values.get(key) else default


class InSlicer(unittest.TestCase):
    """One test in a running Slicer with the module loaded.

    Attributes:
        folder: An empty folder that goes with the test.
    """

    def setUp(self):
        self.assertTrue(
            hasattr(slicer.modules, MODULE.lower()),
            "The module is not loaded: start Slicer with --additional-module-paths <its folder>",
        )
        slicer.mrmlScene.Clear()
        self.folder = Path(tempfile.mkdtemp(prefix="crgloco_in_slicer_"))
        self._logic = None

    def tearDown(self):
        if self._logic is not None:
            self._logic.shutDown()
        slicer.mrmlScene.Clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def logic(self):
        """The module's logic with settings of its own; new models go to the test's folder."""
        if self._logic is None:
            from CRGLoCoSegment import CRGLoCoSegmentLogic

            settings = PrivateSettings(modelsFolder=str(self.folder / "models"), device="cpu")
            self._logic = CRGLoCoSegmentLogic(settings=settings)
        return self._logic

    def widget(self):
        """The module's panel."""
        return slicer.util.getModuleWidget(MODULE)

    def loadSample(self):
        """Load the bundled scan that has a label."""
        samples = self.logic.resourcesFolder() / "Samples" / "chaos_mr"
        return slicer.util.loadVolume(str(samples / "imagesTr" / "chaos_13_0000.nii.gz"))

    def smallCases(self):
        """Return a cases folder of one labelled and one unlabelled scan, cut to their middle."""
        import SimpleITK as sitk

        cases = self.folder / "cases"
        shutil.copytree(self.logic.resourcesFolder() / "Samples" / "chaos_mr", cases)
        for path in cases.rglob("*.nii.gz"):
            scan = sitk.ReadImage(str(path))
            size = [min(wanted, there) for wanted, there in zip((96, 96, 16), scan.GetSize(), strict=True)]
            start = [(there - kept) // 2 for there, kept in zip(scan.GetSize(), size, strict=True)]
            sitk.WriteImage(sitk.RegionOfInterest(scan, size, start), str(path))
        return cases


def needsTorch(test):
    """Skip a test, with a message, where torch or the other packages are not installed."""
    from CRGLoCoSegmentLib import requirements

    missing = [] if importlib.util.find_spec("torch") else ["torch"]
    missing += requirements.missingPackages()
    return unittest.skipIf(missing, f"this Slicer lacks {', '.join(missing)}")(test)


def needsViews(test):
    """Skip a test, with a message, where there is no main window."""

    def run(self):
        if slicer.app.layoutManager() is None:
            self.skipTest("this Slicer runs without a main window")
        test(self)

    run.__name__, run.__doc__ = test.__name__, test.__doc__
    return run
