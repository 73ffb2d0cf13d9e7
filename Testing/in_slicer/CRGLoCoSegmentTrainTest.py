"""In the application: 20 updates from the starter model to a new one, and a training that is stopped."""

import time

import slicer
from crgloco_in_slicer import InSlicer, needsTorch


@needsTorch
class TrainTest(InSlicer):
    """The real training child under PythonSlicer."""

    def start(self, **changes):
        """Start a training small enough for any computer."""
        options = {"labelled_batch": 1, "local_window": "16,48,48", "global_window": "16,96,96"}
        wanted = {
            "title": "Trained in Slicer", "casesFolder": self.smallCases(), "method": "supervised",
            "startModel": self.logic.models.current, "options": options, "iterations": 20, "device": "cpu",
        }  # fmt: skip
        return self.logic.startTraining(**{**wanted, **changes})

    def test_twenty_updates_make_a_new_model_that_can_become_current(self):
        job = self.start()
        self.logic.training.wait(job, timeout=240)
        self.assertEqual(job.state, "finished", f"{job.reason}\n{job.details}")
        self.logic.training.useNew(job)
        self.assertEqual(self.logic.models.card().title, "Trained in Slicer")
        self.assertEqual(self.logic.models.current.parent, self.folder / "models")

    def test_a_stopped_training_keeps_its_checkpoint_and_can_go_on(self):
        job = self.start(iterations=100_000)
        end = time.monotonic() + 180
        while not job.record.updates and job.state == "running" and time.monotonic() < end:
            slicer.app.processEvents()
            time.sleep(0.02)
        self.logic.training.stop(job)
        self.logic.training.wait(job, timeout=60)
        self.assertEqual(job.state, "stopped", f"{job.reason}\n{job.details}")
        self.assertTrue(job.canResume)
        self.assertFalse(job.hasModel)
