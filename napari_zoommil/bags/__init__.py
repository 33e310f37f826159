"""Bags: the features of a slide's patches per magnification, encoded on demand and cached."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_zoommil.bags.bag import Bag, LazyBag
    from napari_zoommil.bags.cache import FeatureCache
    from napari_zoommil.bags.cached import CachedBag, StoredBag

__all__ = ["Bag", "CachedBag", "FeatureCache", "LazyBag", "StoredBag"]

_HOMES = {
    "Bag": "bag",
    "LazyBag": "bag",
    "FeatureCache": "cache",
    "CachedBag": "cached",
    "StoredBag": "cached",
}


def __getattr__(name: str) -> Any:
    """Import lazily, because bags import torch and the cache does not."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
