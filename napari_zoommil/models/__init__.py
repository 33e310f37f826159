"""Multiple-instance-learning models: bag → prediction and attention.

Importing this package is cheap; torch is loaded with the first model.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_zoommil.errors import ModelError

if TYPE_CHECKING:
    from napari_zoommil.models.mil import MILModel

MODELS = {
    "zoommil": ("napari_zoommil.models.zoommil", "ZoomMIL"),
}


def names() -> tuple[str, ...]:
    """Models that :func:`create` knows."""
    return tuple(MODELS)


def create(name: str, **config: Any) -> MILModel:
    """Build an untrained model.

    Parameters
    ----------
    name : str
        One of :func:`names`.
    **config
        Its constructor's arguments, such as ``in_features``, ``classes`` and ``magnifications``.

    Raises
    ------
    ModelError
        If there is no such model, or an argument is wrong.
    """
    if name not in MODELS:
        raise ModelError(f"there is no model {name!r}; choose one of {', '.join(names())}")
    module, attribute = MODELS[name]
    try:
        return getattr(import_module(module), attribute)(**config)
    except TypeError as error:
        raise ModelError(f"{name} cannot be built: {error}") from error


__all__ = ["create", "names"]
