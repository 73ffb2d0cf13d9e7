"""Why a process ended, in words that say what to do."""

import pytest

from CRGLoCoSegmentLib.background.endings import whyEnded


@pytest.mark.parametrize(
    ("code", "log", "said"),
    [
        (None, ["/x/PythonSlicer: [Errno 2] No such file or directory"], "could not be started"),
        (None, [], "could not be started"),
        (1, ["error: Failed to obtain launcher executable name."], "plain ASCII"),
        (1, ["Traceback", "ModuleNotFoundError: No module named 'monai.losses'"], "package monai is missing"),
        (1, ["crgloco: The folder /x is full.", "more"], "The folder /x is full."),
        (1, ["numpy._core._exceptions._ArrayMemoryError: MemoryError"], "memory did not suffice"),
        (1, ["RuntimeError: DefaultCPUAllocator: can't allocate memory"], "memory did not suffice"),
        (0xC0000017, [], "memory did not suffice"),
        (-9, [], "was killed"),
        (137, [], "was killed"),
        (-15, [], "ended from outside"),
        (-11, [], "crashed"),
        (0xC0000005, [], "crashed"),
        (-1073741819, [], "crashed"),
        (1, ["OSError: [WinError 1455] Die Auslagerungsdatei fehlt"], "memory did not suffice"),
        # What Slicer's launcher makes of any crash and any kill.
        (
            1,
            ["error: [C:/Slicer/bin/PythonSlicer] exit abnormally - Report the problem."],
            "crashed or was killed",
        ),
        (3, ["whatever"], "exit code 3"),
    ],
)
def test_each_ending_has_its_words(code, log, said):
    text = whyEnded(code, log)
    assert said in text
    assert text.endswith(".")
