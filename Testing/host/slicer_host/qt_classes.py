"""The flat module ``qt``: classes of the surface file behind proxies, and a short list of harmless ones."""

import enum
import types
from typing import Any

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

from slicer_host import dialogs
from slicer_host.proxy import expose
from slicer_host.surface import classSurface, document
from slicer_host.values import pack, unpack

MODULES = (QtWidgets, QtGui, QtCore)

# QObjects that exist in Slicer although the surface file could not look at them, bases first.
FREE_OBJECTS = [
    "QLayout",
    "QStackedLayout",
    "QShortcut",
    "QScrollBar",
    "QHeaderView",
    "QApplication",
    "QCoreApplication",
    "QClipboard",
    "QScreen",
    "QIntValidator",
    "QDoubleValidator",
    "QRegularExpressionValidator",
    "QCompleter",
    "QMimeData",
    "QStatusBar",
    "QMainWindow",
    "QDockWidget",
    "QToolBar",
    "QTreeView",
    "QTableView",
    "QListView",
    "QItemSelectionModel",
    "QSortFilterProxyModel",
    "QButtonGroup",
    "QStandardItemModel",
    "QTabBar",
    "QSizeGrip",
    "QMovie",
    "QActionGroup",
]

# Plain values: they have no properties, so that PySide's methods are PythonQt's.
VALUES = [
    "QSize",
    "QSizeF",
    "QPoint",
    "QPointF",
    "QRect",
    "QRectF",
    "QLine",
    "QLineF",
    "QColor",
    "QPixmap",
    "QImage",
    "QFont",
    "QFontMetrics",
    "QPen",
    "QPalette",
    "QUrl",
    "QKeySequence",
    "QByteArray",
    "QDateTime",
    "QDate",
    "QTime",
    "QDir",
    "QFile",
    "QFileInfo",
    "QLocale",
    "QStandardPaths",
    "QDesktopServices",
    "QSizePolicy",
    "QModelIndex",
    "QItemSelectionModel",
    "QCursor",
    "QSysInfo",
    "QElapsedTimer",
    "QMargins",
    "QRegularExpression",
    "QSpacerItem",
    "QEvent",
    "QPolygonF",
    "QPainterPath",
    "QLinearGradient",
    "QTransform",
    "QFontDatabase",
    "QThread",
    "QStyle",
    "QTextCursor",
    "QTextOption",
    "QKeyEvent",
    "QMouseEvent",
    "QCloseEvent",
    "QIODevice",
    "QFontInfo",
]

# Values whose construction or methods take widgets.
TAKING_WIDGETS = ["QTableWidgetItem", "QTreeWidgetItem", "QListWidgetItem", "QPainter", "QIcon", "QBrush"]


class QSettings(QtCore.QSettings):
    """Settings that come back as text or ``None``, as from a file, whatever was put in."""

    def __init__(self, *given: Any) -> None:
        if given:
            super().__init__(*given)
        else:
            super().__init__(
                QtCore.QSettings.Format.IniFormat,
                QtCore.QSettings.Scope.UserScope,
                QtCore.QCoreApplication.organizationName(),
                QtCore.QCoreApplication.applicationName(),
            )

    def value(self, key: str, default: Any = None) -> Any:
        """The stored text (or tuple of texts), or the default."""
        found = super().value(key)
        return default if found is None else _stored(found)


def _stored(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_stored(one) for one in value]
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else value


class QUiLoader(QtUiTools.QUiLoader):
    """Only for ``slicer.util.loadUI``."""


OWN = {
    "QDialog": dialogs.QDialog,
    "QMessageBox": dialogs.QMessageBox,
    "QFileDialog": dialogs.QFileDialog,
    "QInputDialog": dialogs.QInputDialog,
    "QSettings": QSettings,
}


class ShortEnums:
    """The namespace ``qt.Qt``: its values, not its enum types."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(QtCore.Qt, name)
        if isinstance(found, enum.EnumMeta):
            raise AttributeError(f"qt.Qt.{name}: PythonQt has the enum's values directly in qt.Qt")
        return found


def implementation(name: str) -> type:
    """The PySide class of a plain name."""
    if name in OWN:
        return OWN[name]
    return next(getattr(module, name) for module in MODULES if hasattr(module, name))


def taking(cls: type) -> type:
    """A value class whose constructor unpacks proxies."""

    def construct(self: Any, *given: Any) -> None:
        cls.__init__(self, *(unpack(one) for one in given))

    return type(cls.__name__, (cls,), {"__init__": construct})


def _ordered() -> list[str]:
    """The surface's Qt classes, ancestors first."""
    names = [name for name in document()["classes"] if name.startswith("qt.")]
    return sorted(names, key=lambda name: len(implementation(name[3:]).__mro__))


def makeQt() -> types.ModuleType:
    """Build the module."""
    module = types.ModuleType("qt", "Qt as PythonQt shows it, made of PySide6.")
    for name in _ordered():
        setattr(module, name[3:], expose(name, implementation(name[3:])))
    for name in FREE_OBJECTS:
        if classSurface(f"qt.{name}") is None:
            setattr(module, name, expose(f"qt.{name}", implementation(name)))
    for name in VALUES:
        setattr(module, name, implementation(name))
    for name in TAKING_WIDGETS:
        setattr(module, name, taking(implementation(name)))
    module.Qt = ShortEnums()
    module.QUiLoader = QUiLoader
    return module


__all__ = ["makeQt", "pack"]
