"""Qt's dialogs without waiting: each asks ``answers`` what the user does."""

from collections.abc import Callable
from typing import Any

from PySide6 import QtWidgets

from slicer_host.answers import answers
from slicer_host.values import pack

Buttons = QtWidgets.QMessageBox.StandardButton


class QDialog(QtWidgets.QDialog):
    """A dialog that asks ``answers`` when it runs."""

    def exec(self) -> int:
        """Run the answer: a function of the dialog, or its result."""
        answer = answers.take(self.windowTitle() or self.objectName() or type(self).__name__)
        result = answer(pack(self)) if callable(answer) else answer
        if result is not None:
            self.done(int(result))
        return self.result()


class QMessageBox(QtWidgets.QMessageBox):
    """A message box; the answer is a standard button or the text of any button."""

    def exec(self) -> Any:
        """Click the answer's button."""
        answer = answers.take(self.text())
        button = next((b for b in self.buttons() if b.text().replace("&", "") == answer), None)
        if button is None and not isinstance(answer, str):
            button = self.button(answer) if self.buttons() else self.addButton(answer)
        if button is None:
            shown = [b.text() for b in self.buttons()]
            raise AssertionError(f"The message box {self.text()!r} has no button {answer!r} but {shown}")
        button.click()
        standard = self.standardButton(button)
        return self.buttons().index(button) if standard == Buttons.NoButton else standard


def _ask(_parent: Any, title: str, text: str, *_given: Any) -> Any:
    return answers.take(f"{title}: {text}")


class _Question:
    """A static method such as ``QMessageBox.question(parent, title, text, buttons, default)``."""

    def __get__(self, _instance: Any, _owner: Any) -> Callable[..., Any]:
        return _ask


for _name in ("question", "information", "warning", "critical"):
    setattr(QMessageBox, _name, _Question())


class QFileDialog(QtWidgets.QFileDialog):
    """A file dialog; its static methods return only the path, as in PythonQt."""

    def exec(self) -> int:
        """Select the answer's files; an empty one cancels."""
        answer = answers.take(self.windowTitle() or "file dialog")
        self._chosen = [answer] if isinstance(answer, str) else list(answer)
        self._chosen = [path for path in self._chosen if path]
        self.done(int(bool(self._chosen)))
        return self.result()

    def selectedFiles(self) -> list[str]:
        """What the answer said."""
        return getattr(self, "_chosen", [])

    @staticmethod
    def getOpenFileName(_parent: Any = None, caption: str = "", *_given: Any) -> str:
        """One path, or an empty text."""
        return _text(answers.take(caption))

    @staticmethod
    def getSaveFileName(_parent: Any = None, caption: str = "", *_given: Any) -> str:
        """One path, or an empty text."""
        return _text(answers.take(caption))

    @staticmethod
    def getExistingDirectory(_parent: Any = None, caption: str = "", *_given: Any) -> str:
        """One folder, or an empty text."""
        return _text(answers.take(caption))

    @staticmethod
    def getOpenFileNames(_parent: Any = None, caption: str = "", *_given: Any) -> list[str]:
        """Several paths."""
        return [_text(one) for one in answers.take(caption) or []]


class QInputDialog(QtWidgets.QInputDialog):
    """An input dialog; its static methods return only the value, as in PythonQt."""

    @staticmethod
    def getText(_parent: Any, title: str, label: str, *_given: Any) -> str:
        """A text; empty when cancelled."""
        return _text(answers.take(f"{title}: {label}"))

    @staticmethod
    def getItem(_parent: Any, title: str, label: str, items: Any, *_given: Any) -> str:
        """One of the items."""
        answer = _text(answers.take(f"{title}: {label}"))
        if answer and answer not in items:
            raise AssertionError(f"{answer!r} is none of the items {items}")
        return answer

    @staticmethod
    def getInt(_parent: Any, title: str, label: str, *_given: Any) -> int:
        """A whole number."""
        return int(answers.take(f"{title}: {label}"))

    @staticmethod
    def getDouble(_parent: Any, title: str, label: str, *_given: Any) -> float:
        """A number."""
        return float(answers.take(f"{title}: {label}"))


def _text(answer: Any) -> str:
    if not isinstance(answer, str):
        raise TypeError(f"This dialog's answer has to be a text, not {answer!r}")
    return answer
