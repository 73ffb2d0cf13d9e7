"""``slicer.i18n``: no translation is loaded, but a test can put one to see that texts go through it."""

import types
from collections.abc import Callable

# A test may replace it: gets context and text, returns the translation.
translator: list[Callable[[str, str], str]] = [lambda _context, text: text]


def translate(context: str, text: str) -> str:
    """Translate within a named context."""
    if not isinstance(text, str):
        raise TypeError(f"translate() needs a literal text, not {text!r}")
    return translator[0](context, text)


def tr(text: str) -> str:
    """Translate; the real one finds the context by the caller's file."""
    return translate("", text)


def makeModule() -> types.ModuleType:
    """Build ``slicer.i18n``."""
    module = types.ModuleType("slicer.i18n")
    module.tr, module.translate = tr, translate
    return module
