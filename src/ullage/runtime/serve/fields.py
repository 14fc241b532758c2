"""Members of a request's JSON object, typed; what is wrong names the member."""

from collections.abc import Mapping
from math import isfinite
from typing import Any

from ullage.errors import InputError


class WrongFieldError(InputError):
    """A parameter is wrong. ``param`` is its name."""

    def __init__(self, param: str, message: str, code: str = "invalid_value") -> None:
        super().__init__(f"{param} {message}")
        self.param, self.code = param, code


class Fields:
    """The object. A member that is null counts as not said."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def raw(self, name: str) -> Any:
        """The value as it is, or None."""
        return self._document.get(name)

    def number(self, name: str, default: float) -> float:
        """A finite number."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise WrongFieldError(name, f"is {_shown(value)}; a number is wanted", "invalid_type")
        return float(value)

    def whole(self, name: str, *, least: int | None = None, most: int | None = None) -> int | None:
        """A whole number within its bounds."""
        value = self.raw(name)
        if value is None:
            return None
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int:
            raise WrongFieldError(name, f"is {_shown(value)}; a whole number is wanted", "invalid_type")
        if (least is not None and value < least) or (most is not None and value > most):
            bounds = f"from {least} on" if most is None else f"from {least} to {most}"
            raise WrongFieldError(name, f"is {value}; it has to be {bounds}")
        return value

    def flag(self, name: str) -> bool:
        """True or false; false unless said."""
        value = self.raw(name)
        if value is not None and not isinstance(value, bool):
            raise WrongFieldError(name, f"is {_shown(value)}; true or false is wanted", "invalid_type")
        return bool(value)

    def words(self, name: str, most: int) -> tuple[str, ...]:
        """A text or a list of at most ``most``, none of them empty."""
        value = self.raw(name)
        found = [] if value is None else [value] if isinstance(value, str) else value
        if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
            raise WrongFieldError(name, f"is {_shown(value)}; a text or a list of texts is wanted", "invalid_type")
        if len(found) > most:
            raise WrongFieldError(name, f"has {len(found)} texts; at most {most} are taken")
        if not all(found):
            raise WrongFieldError(name, "has an empty text, which every text begins with")
        return tuple(found)

    def inner(self, name: str) -> "Fields | None":
        """An object."""
        value = self.raw(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise WrongFieldError(name, f"is {_shown(value)}; an object is wanted", "invalid_type")
        return Fields(value)

    def objects(self, name: str) -> tuple[Mapping[str, Any], ...]:
        """A list of objects."""
        value = self.raw(name)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise WrongFieldError(name, f"is {_shown(value)}; a list of objects is wanted", "invalid_type")
        return tuple(value)


def _shown(value: object) -> str:
    """A wrong value, or only its kind where it could be long or private."""
    if isinstance(value, bool | int | float):
        return repr(value)
    return "an object" if isinstance(value, dict) else "a list" if isinstance(value, list) else "a text"
