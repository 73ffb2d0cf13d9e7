"""What may stand in ``Annotated[...]`` of a parameter: defaults, bounds, choices, steps of the widget."""

import typing
from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True)
class Default:
    """The value at first."""

    value: Any


@dataclass(frozen=True)
class Decimals:
    """How many decimals the widget shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """The widget's step."""

    value: float


class Validator:
    """Refuses values."""

    def validate(self, value: Any) -> None:
        """Raise ValueError for a wrong value."""


@dataclass(frozen=True)
class WithinRange(Validator):
    """Between two bounds."""

    minimum: float
    maximum: float

    def validate(self, value: Any) -> None:
        """Refuse what is outside."""
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


@dataclass(frozen=True)
class Minimum(Validator):
    """Not below a bound."""

    minimum: float

    def validate(self, value: Any) -> None:
        """Refuse what is below."""
        if value < self.minimum:
            raise ValueError(f"Value must not be below {self.minimum}, is {value}")


@dataclass(frozen=True)
class Maximum(Validator):
    """Not above a bound."""

    maximum: float

    def validate(self, value: Any) -> None:
        """Refuse what is above."""
        if value > self.maximum:
            raise ValueError(f"Value must not be above {self.maximum}, is {value}")


@dataclass(frozen=True)
class Choice(Validator):
    """One of a list."""

    choices: list

    def validate(self, value: Any) -> None:
        """Refuse any other."""
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be one of {self.choices}")


@dataclass(frozen=True)
class Exclude(Validator):
    """None of a list."""

    excludedValues: list

    def validate(self, value: Any) -> None:
        """Refuse these."""
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, but must be none of {self.excludedValues}")


class NotNone(Validator):
    """Never ``None``."""

    def validate(self, value: Any) -> None:
        """Refuse ``None``."""
        if value is None:
            raise ValueError("Value must not be None")


def split(kind: Any) -> tuple[Any, list[Any]]:
    """A type without its annotations, and these."""
    plain, *notes = typing.get_args(Annotated[kind, "end"])
    return plain, [
        note() if isinstance(note, type) and issubclass(note, Validator) else note for note in notes[:-1]
    ]


def first(notes: list[Any], kind: type) -> Any:
    """The first annotation of a kind, or ``None``."""
    return next((note for note in notes if isinstance(note, kind)), None)
