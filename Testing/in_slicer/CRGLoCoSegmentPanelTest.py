"""In the application: the module loads, sections are built, state is saved; no torch, no main window."""

import sys

import slicer
from crgloco_in_slicer import MODULE, InSlicer


class PanelTest(InSlicer):
    """Opens the module as a user does."""

    def test_the_module_is_in_the_list_under_segmentation(self):
        module = slicer.util.getModule(MODULE)
        self.assertEqual(module.title, "CRG LoCo Segment")

    def test_every_section_is_built_when_it_is_opened(self):
        for name, section in self.widget().sections.items():
            section.open()
            self.assertIsNotNone(section.panel, f"the section {name} could not be built; see the log")

    def test_neither_torch_nor_monai_is_imported_by_the_panels(self):
        before = {"torch", "monai"} & set(sys.modules)
        for section in self.widget().sections.values():
            section.open()
        self.assertEqual({"torch", "monai"} & set(sys.modules), before)

    def test_the_environment_says_in_one_line_whether_work_can_start(self):
        line = self.widget().logic.environment.summary()
        self.assertRegex(line, r"^(Ready|Not ready yet): .*No data leave this computer\.$")

    def test_what_belongs_to_the_case_comes_back_with_the_scene(self):
        from CRGLoCoSegmentLib.parameters import Quality, ThirdPane

        volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
        parameters = self.widget().logic.getParameterNode()
        parameters.inputVolume = volume
        parameters.quality, parameters.thirdPane = Quality.FAST, ThirdPane.FUSED
        parameters.uncertainBelow = 0.25
        scene = str(self.folder / "scene.mrml")
        slicer.mrmlScene.SetURL(scene)
        self.assertTrue(slicer.mrmlScene.Commit(scene))
        slicer.mrmlScene.Clear()
        slicer.mrmlScene.SetURL(scene)
        slicer.mrmlScene.Connect()
        again = self.widget().logic.getParameterNode()
        self.assertEqual((again.quality, again.thirdPane), (Quality.FAST, ThirdPane.FUSED))
        self.assertEqual(again.uncertainBelow, 0.25)
        self.assertEqual(again.inputVolume.GetName(), "scan")

    def test_reload_gives_a_new_panel_and_new_code(self):
        former = self.widget()
        formerCode = sys.modules["CRGLoCoSegmentLib.logic"]
        former.onReload()
        self.assertIsNot(self.widget(), former)
        self.assertIsNot(sys.modules["CRGLoCoSegmentLib.logic"], formerCode)
        self.assertIsNone(former.logic)
        self.assertEqual(set(self.widget().sections), {
            "environment", "segment", "compare", "correct", "cases", "fineTune",
        })  # fmt: skip
