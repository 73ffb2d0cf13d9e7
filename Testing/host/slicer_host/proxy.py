"""PythonQt's face of a QObject: properties are attributes, the rest methods, unknown names are refused."""

import weakref
from collections.abc import Callable
from typing import Any

import shiboken6
from PySide6 import QtCore

from slicer_host import values
from slicer_host.faults import guarded
from slicer_host.signals import SignalProxy, connect, disconnect
from slicer_host.surface import ClassSurface, classSurface

# Keywords of Python (of today or of Python 2), which PythonQt shows with an underscore.
UNDERSCORED = {"exec_": "exec", "raise_": "raise", "print_": "print", "del_": "del"}
PYSIDE_NAMES = {"raise": "raise_", "del": "del_"}
MISSING = object()

_classes: dict[type, "ProxyType"] = {}
_proxies: "weakref.WeakValueDictionary[int, Proxy]" = weakref.WeakValueDictionary()


class ProxyType(type):
    """The type of ``qt.QLabel`` and its like: enums, static methods, a harsh ``isinstance``."""

    implementation: type
    surface: ClassSurface | None

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__") or "implementation" not in _allAttributes(cls):
            raise AttributeError(name)
        if cls.surface is not None and name not in cls.surface.names:
            raise AttributeError(f"type object '{cls.__name__}' has no attribute '{name}' in Slicer")
        found = getattr(cls.implementation, PYSIDE_NAMES.get(name, name), MISSING)
        if found is MISSING or isinstance(found, type(QtCore.Qt.AlignmentFlag)):
            raise AttributeError(
                f"type object '{cls.__name__}' has no attribute '{name}' (enums have the short form)"
            )
        if callable(found):
            return lambda *given: values.pack(found(*_arguments(given)))
        return found

    def __instancecheck__(cls, instance: Any) -> bool:
        # A base class is answered wrongly by PythonQt at times: ask inherits() or isWidgetType().
        exact = type(instance)
        if exact is cls or not issubclass(exact, cls):
            return exact is cls
        if "implementation" not in vars(exact) or cls is Proxy:
            return True
        raise TypeError(
            f"isinstance(..., {cls.__name__}) of a {exact.__name__} is unreliable in PythonQt: use inherits()"
        )


def _allAttributes(cls: type) -> set[str]:
    return {name for base in cls.__mro__ for name in vars(base)}


def _arguments(given: tuple[Any, ...]) -> list[Any]:
    return [guarded(one) if _isPlainCallable(one) else values.unpack(one) for one in given]


def _isPlainCallable(value: Any) -> bool:
    return callable(value) and not isinstance(value, type) and not values.packing.isProxy(value)


class Proxy(metaclass=ProxyType):
    """One QObject as PythonQt shows it."""

    def __init__(self, *given: Any) -> None:
        made = _implementationOf(type(self), self)(*(values.unpack(one) for one in given))
        object.__setattr__(self, "qtObject_", made)
        _proxies[shiboken6.getCppPointer(made)[0]] = self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "qtObject_":
            raise AttributeError(name)
        target, cls = _living(self, name), _proxyClass(type(self))
        plain = UNDERSCORED.get(name, name)
        surface = cls.surface
        if surface is not None and plain not in surface.names:
            return _dynamicProperty(self, target, name)
        if _isProperty(cls, target, plain):
            return _read(target, plain)
        if plain in (surface.signalNames if surface else ()) or isinstance(
            getattr(target, plain, None), QtCore.SignalInstance
        ):
            return SignalProxy(target, surface, plain)
        return _method(target, cls, plain)

    def __setattr__(self, name: str, value: Any) -> None:
        target, cls = _living(self, name), _proxyClass(type(self))
        if _isProperty(cls, target, name):
            _write(target, cls, name, value)
        elif name.encode() in [bytes(one) for one in target.dynamicPropertyNames()]:
            target.setProperty(name, value)
        elif type(self) is not cls:
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(f"'{cls.__name__}' object has no property '{name}' that could be set")

    def connect(self, signature: str, *receiver: Any) -> bool:
        """Connect a signal by its exact signature to a callable, or to a slot of another object."""
        surface = _proxyClass(type(self)).surface
        return connect(_living(self, "connect"), surface, signature, _slot(receiver))

    def disconnect(self, signature: str, *receiver: Any) -> bool:
        """Undo ``connect``; without a callable all connections of this signal."""
        surface = _proxyClass(type(self)).surface
        return disconnect(
            _living(self, "disconnect"), surface, signature, _slot(receiver) if receiver else None
        )

    def className(self) -> str:
        """The C++ class."""
        return _proxyClass(type(self)).__name__

    def inherits(self, className: str) -> bool:
        """Whether the C++ class is this one or comes from it."""
        surface = _proxyClass(type(self)).surface
        return className in surface.lineage() if surface else self.qtObject_.inherits(className)

    def findChildren(self, kind: "ProxyType", name: str = "") -> tuple[Any, ...]:
        """Children and theirs, of a class, by name."""
        return tuple(one for one in _descendants(self.qtObject_) if _matches(one, kind, name))

    def findChild(self, kind: "ProxyType", name: str = "") -> Any:
        """The first of ``findChildren``, or ``None``."""
        return next(iter(self.findChildren(kind, name)), None)

    def setProperty(self, name: str, value: Any) -> bool:
        """Set a property, static or dynamic."""
        return _living(self, name).setProperty(name, values.unpack(value))

    def property(self, name: str) -> Any:
        """A property, static or dynamic; ``None`` if there is none."""
        return values.pack(_living(self, name).property(name))

    def __eq__(self, other: object) -> bool:
        return values.packing.isProxy(other) and self.qtObject_ is other.qtObject_

    def __hash__(self) -> int:
        return id(self.qtObject_)

    def __bool__(self) -> bool:
        return shiboken6.isValid(self.qtObject_)

    def __repr__(self) -> str:
        name = self.qtObject_.objectName() if self else "destroyed"
        return f"{type(self).__name__} ({name})"


def _slot(receiver: tuple[Any, ...]) -> Callable[..., Any]:
    if len(receiver) == 2 and isinstance(receiver[1], str):
        target, signature = receiver
        if signature not in _proxyClass(type(target)).surface.slots:
            raise ValueError(f"{type(target).__name__} has no slot {signature!r}")
        return getattr(target, signature.partition("(")[0])
    if len(receiver) != 1:
        raise TypeError("connect takes a signature and one callable")
    return receiver[0]


def _living(proxy: Proxy, name: str) -> QtCore.QObject:
    target = proxy.__dict__.get("qtObject_")
    if target is None:
        raise AttributeError(f"the base class's __init__ has to be called before '{name}' is used")
    if not shiboken6.isValid(target):
        raise ValueError(f"Trying to use attribute '{name}' of a destroyed {type(proxy).__name__} object")
    return target


def _proxyClass(cls: type) -> "ProxyType":
    return next(base for base in cls.__mro__ if "implementation" in vars(base))


def _isProperty(cls: "ProxyType", target: QtCore.QObject, name: str) -> bool:
    if cls.surface is not None:
        return name in cls.surface.properties
    return target.metaObject().indexOfProperty(name) >= 0


def _read(target: QtCore.QObject, name: str) -> Any:
    getter = getattr(target, name, MISSING)
    if getter is MISSING:
        if target.metaObject().indexOfProperty(name) < 0:
            raise NotImplementedError(f"{type(target).__name__}.{name}: gone in Qt 6, or the host lacks it")
        return values.pack(target.property(name))
    return values.pack(getter() if callable(getter) else getter)


def _write(target: QtCore.QObject, cls: "ProxyType", name: str, value: Any) -> None:
    kind = cls.surface.properties[name] if cls.surface else ""
    if kind.endswith("(read only)"):
        raise AttributeError(f"Property '{name}' of {cls.__name__} is read only")
    values.check(name, kind, value)
    setter = getattr(target, f"set{name[0].upper()}{name[1:]}", None)
    if setter is not None:
        setter(values.unpack(value))
    elif target.metaObject().indexOfProperty(name) < 0:
        raise NotImplementedError(f"{type(target).__name__}.{name}: gone in Qt 6, or the host lacks it")
    else:
        target.setProperty(name, values.unpack(value))


def _dynamicProperty(proxy: Proxy, target: QtCore.QObject, name: str) -> Any:
    value = target.property(name) if target.metaObject().indexOfProperty(name) < 0 else None
    if value is None:
        raise AttributeError(f"'{type(proxy).__name__}' object has no attribute '{name}' in Slicer")
    return values.pack(value)


def _method(target: QtCore.QObject, cls: "ProxyType", name: str) -> Any:
    found = getattr(target, PYSIDE_NAMES.get(name, name), MISSING)
    if found is MISSING:
        raise NotImplementedError(f"{cls.__name__}.{name}: gone in Qt 6, or the host lacks it")
    if not callable(found):
        return values.pack(found)

    def call(*given: Any) -> Any:
        return values.pack(found(*_arguments(given)))

    call.__name__ = name
    return call


def _descendants(target: QtCore.QObject) -> list[Any]:
    found = []
    for child in target.children():
        found += [values.pack(child), *_descendants(child)]
    return found


def _matches(proxy: Any, kind: "ProxyType", name: str) -> bool:
    wanted = kind if isinstance(kind, str) else kind.__name__
    return proxy.inherits(wanted) and (not name or proxy.objectName == name)


# ------------------------------------------------------------------------------ classes and packing


def expose(fullName: str, implementation: type) -> "ProxyType":
    """Make the proxy class of one class of Qt, CTK or Slicer.

    Args:
        fullName: As in the surface file, for example ``ctk.ctkPathLineEdit``.
        implementation: The PySide6 class, or the host's own one with Qt properties, signals and slots.
    """
    plain = fullName.rpartition(".")[2]
    surface = classSurface(fullName)
    bases = (_baseOf(implementation),)
    cls = ProxyType(plain, bases, {"implementation": implementation, "surface": surface})
    _classes[implementation] = cls
    return cls


def _baseOf(implementation: type) -> type:
    for base in implementation.__mro__[1:]:
        if base in _classes:
            return _classes[base]
    return Proxy


def _packObject(target: QtCore.QObject) -> Any:
    address = shiboken6.getCppPointer(target)[0]
    known = _proxies.get(address)
    if known is not None and known.qtObject_ is target:
        return known
    cls = next((_classes[base] for base in type(target).__mro__ if base in _classes), None)
    if cls is None:
        raise NotImplementedError(f"the host has no {type(target).__name__}: add it to qt_classes.py")
    proxy = cls.__new__(cls)
    object.__setattr__(proxy, "qtObject_", target)
    _proxies[address] = proxy
    return proxy


values.packing.packObject = _packObject
values.packing.isProxy = lambda value: isinstance(type(value), ProxyType)


# ------------------------------------------------------------------- classes that Python derives


def _implementationOf(cls: type, proxy: Proxy) -> type:
    """The class to make: for a class derived in Python one whose virtual methods come back to it."""
    base = _proxyClass(cls).implementation
    if cls is _proxyClass(cls):
        return base
    own = [vars(one) for one in cls.__mro__[: cls.__mro__.index(_proxyClass(cls))]]
    names = {name for one in own for name in one if not name.startswith("__") and hasattr(base, name)}
    back = weakref.ref(proxy)
    return type(cls.__name__, (base,), {name: _virtual(base, name, back) for name in names})


def _virtual(base: type, name: str, back: "weakref.ref[Proxy]") -> Callable[..., Any]:
    def call(target: Any, *given: Any) -> Any:
        proxy = back()
        if proxy is None or "qtObject_" not in proxy.__dict__:
            return getattr(base, name)(target, *given)
        answer = values.unpack(getattr(proxy, name)(*(values.pack(one) for one in given)))
        return bool(answer) if name in ("event", "eventFilter") else answer

    return call
