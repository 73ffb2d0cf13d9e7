"""In the application: the bundled scan is segmented by the starter model, compared and exported."""

import time

import numpy as np
import SimpleITK as sitk
import slicer
from crgloco_in_slicer import InSlicer, needsTorch, needsViews


@needsTorch
class SegmentTest(InSlicer):
    """The real worker under PythonSlicer."""

    def segmented(self):
        """The bundled scan and its result."""
        volume = self.loadSample()
        return volume, self.logic.segment(volume, quality="fast", waitForCompletion=True)

    def test_a_scan_is_segmented_into_new_nodes_with_the_models_names(self):
        volume, result = self.segmented()
        segmentation = result.fused.GetSegmentation()
        names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
        self.assertEqual(names, list(self.logic.models.card().labels.names[1:]))
        self.assertIs(self.logic.resultOf(volume).fused, result.fused)
        liver = slicer.util.arrayFromSegmentBinaryLabelmap(
            result.fused, segmentation.GetNthSegmentID(0), volume
        )
        self.assertEqual(liver.shape, slicer.util.arrayFromVolume(volume).shape)
        millilitres = liver.sum() * np.prod(volume.GetSpacing()) / 1000
        self.assertGreater(millilitres, 300, "a liver")

    def test_a_label_is_exported_with_the_values_of_the_table(self):
        volume, result = self.segmented()
        path = self.logic.exportLabel(
            result.fused, volume, self.folder / "label.nii.gz", waitForCompletion=True
        )
        label = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        self.assertEqual(label.shape, slicer.util.arrayFromVolume(volume).shape)
        values = {int(value) for value in np.unique(label)}
        self.assertIn(1, values)
        self.assertLessEqual(values, set(self.logic.models.card().labels.values))

    @needsViews
    def test_both_answers_are_shown_side_by_side_and_the_users_layout_comes_back(self):
        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        before = layout.GetViewArrangement()
        _volume, result = self.segmented()
        self.logic.compare(result)
        self.assertTrue(self.logic.view.isShown())
        for pane in ("CRGGlobal", "CRGLocal"):
            self.assertIsNotNone(slicer.app.layoutManager().sliceWidget(pane), pane)
        self.logic.view.hide()
        self.assertEqual(layout.GetViewArrangement(), before)

    def test_a_cancelled_segmentation_adds_nothing_and_ends_at_once(self):
        volume = self.loadSample()
        before = slicer.mrmlScene.GetNumberOfNodes()
        ends = []
        task = self.logic.segment(
            volume, quality="full", onFailed=lambda message, _details: ends.append(message)
        )
        for _ in range(20):
            slicer.app.processEvents()
            time.sleep(0.05)
        start = time.monotonic()
        task.cancel()
        self.assertLess(time.monotonic() - start, 1.0)
        self.assertEqual(task.state, "cancelled")
        self.assertEqual(ends, ["Cancelled."])
        self.assertEqual(slicer.mrmlScene.GetNumberOfNodes(), before)
        self.assertFalse(self.logic.segmentation.isBusy())

    def test_closing_the_scene_ends_the_work_on_it(self):
        task = self.logic.segment(self.loadSample(), quality="fast")
        slicer.mrmlScene.Clear()
        self.logic.sceneClosed()
        self.assertEqual(task.state, "cancelled")
