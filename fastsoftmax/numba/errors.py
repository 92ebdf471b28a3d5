"""[5] What compiled code raises: it passes the numbers, and the text, that of the public functions, is made in Python."""

from typing import Any, cast

from .. import check


class LabelError(check.LabelError):
    """A label outside [0, n_classes) that is not ignore_index."""

    def __init__(self, label: int, row: int, lead: tuple[int, ...], n_classes: int, ignore_index: int) -> None:
        super().__init__(str(check.label_error(cast(Any, {row: label}), row, lead, n_classes, ignore_index)))

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        return check.LabelError, self.args


class Refused(ValueError):
    """Any other argument that is wrong: a text with a place for each of the numbers."""

    def __init__(self, text: str, *numbers: object) -> None:
        super().__init__(text.format(*numbers))

    def __reduce__(self) -> tuple[type, tuple[str, ...]]:
        return ValueError, self.args
