"""A slide's embeddings per magnification: encoded when asked for, or read from a store."""

from napari_zoommil.bags.bag import Bag, LazyBag
from napari_zoommil.bags.store import FeatureStore, StoredBag

__all__ = ["Bag", "FeatureStore", "LazyBag", "StoredBag"]
