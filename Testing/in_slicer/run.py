"""All tests in the application, by ``Slicer --testing --python-script``: see CONTRIBUTING.md."""

import sys
import unittest
from pathlib import Path

FOLDER = Path(__file__).parent


def main(words):
    """Run the tests whose file has one of the words in its name; an error is Slicer's exit code."""
    sys.path.insert(0, str(FOLDER))
    paths = sorted(FOLDER.glob("CRGLoCoSegment*Test.py"))
    names = [path.stem for path in paths if not words or any(word in path.stem for word in words)]
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    if not result.wasSuccessful() or not result.testsRun:
        raise AssertionError(f"{len(result.failures) + len(result.errors)} of {result.testsRun} tests failed")


main(sys.argv[1:])
