"""Modal dialogs in tests: each takes the next answer that the test has put, and none ever waits."""

from typing import Any

from slicer_host.faults import faults


class UnansweredDialogError(AssertionError):
    """A dialog opened for which the test had put no answer."""


class Answers:
    """Answers for the dialogs to come, and the texts of those that were shown.

    Attributes:
        shown: What each dialog said, oldest first.
    """

    def __init__(self) -> None:
        self._waiting: list[Any] = []
        self.shown: list[str] = []

    def put(self, *answers: Any) -> None:
        """Answer the next dialogs.

        A message box takes a standard button (``qt.QMessageBox.Yes``) or the text of a button; a file or
        input dialog takes the text (or a list of texts), ``""`` for cancel; any other dialog takes a
        function that gets the dialog and returns its result.
        """
        self._waiting.extend(answers)

    def take(self, text: str) -> Any:
        """The answer for a dialog that opens now.

        Raises:
            UnansweredDialogError: If there is none.
        """
        self.shown.append(text)
        if not self._waiting:
            message = f"A dialog opened that the test did not expect: {text}"
            faults.add(message)
            raise UnansweredDialogError(message)
        return self._waiting.pop(0)

    def left(self) -> list[Any]:
        """Answers that no dialog asked for."""
        return list(self._waiting)

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self.shown.clear()


answers = Answers()
