"""What is in sight: slides share one origin, so only the layers of one slide are shown, and of these not what
was put away by key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from napari.components import LayerList
from napari.layers import Layer

from napari_zoommil.slides import Slide
from napari_zoommil.viewer.metadata import slide_of


class Sight:
    """The visible slide, and the layers of other slides that are hidden because of it.

    Parameters
    ----------
    layers : napari.components.LayerList

    Attributes
    ----------
    slide : Slide or None
        The slide whose layers are shown.
    held : bool
        Whether selecting a layer does not change the visible slide; see :meth:`held_still`.
    """

    def __init__(self, layers: LayerList) -> None:
        self._layers = layers
        self._hidden: list[Layer] = []
        self._put_away: WeakSet[Layer] = WeakSet()
        self.slide: Slide | None = None
        self.held = False
        layers.events.removed.connect(lambda event: self.forget(event.value))

    def show_only(self, slide: Slide | None) -> None:
        """Show the layers of a slide, and hide those of all others."""
        self.slide = slide
        for layer in self._layers:
            if slide_of(layer) not in (None, slide) and layer.visible:
                self.hide(layer)
        for layer in [one for one in self._hidden if slide_of(one) is slide]:
            layer.visible = True
            self._hidden.remove(layer)

    def is_away(self, slide: Slide) -> bool:
        """Whether another slide is visible."""
        return self.slide is not None and self.slide is not slide

    def is_hidden(self, layer: Layer) -> bool:
        """Whether a layer is hidden only because another slide is visible."""
        return any(layer is one for one in self._hidden)

    def hide(self, layer: Layer) -> None:
        """Hide a layer until its slide is visible again."""
        layer.visible = False
        if not self.is_hidden(layer):
            self._hidden.append(layer)

    def forget(self, layer: Layer) -> None:
        """Do not show a layer again by itself: it is hidden for another reason from now on, or gone."""
        self._hidden = [one for one in self._hidden if one is not layer]
        self._put_away.discard(layer)

    def is_put_away(self, layer: Layer) -> bool:
        """Whether a layer is hidden only because :meth:`put_away` has hidden it."""
        return layer in self._put_away

    def keep_away(self, layer: Layer) -> None:
        """Hide a layer until the next :meth:`put_away` shows it, or somebody else does."""
        layer.visible = False
        self._put_away.add(layer)
        layer.events.visible.connect(self._drop_shown)

    def _drop_shown(self, event: Any) -> None:
        """If a layer is shown and hidden again by hand, it stays hidden."""
        if event.source.visible:
            self._put_away.discard(event.source)

    def put_away(self, layers: Iterable[Layer]) -> bool:
        """Hide those of some layers that are visible; if none is, show those that were hidden so.

        Returns
        -------
        bool
            False if they are hidden now.
        """
        layers = list(layers)
        visible = [layer for layer in layers if layer.visible]
        for layer in visible:
            self.keep_away(layer)
        if visible:
            return False
        for layer in [layer for layer in layers if layer in self._put_away]:
            layer.visible = True
        return True

    @contextmanager
    def held_still(self) -> Iterator[None]:
        """Context in which layers can be added and removed (and so selected) without changing the slide."""
        before, self.held = self.held, True
        try:
            yield
        finally:
            self.held = before


_SIGHTS: WeakKeyDictionary[Any, Sight] = WeakKeyDictionary()


def sight_of(viewer: Any) -> Sight:
    """The :class:`Sight` of a viewer; created on the first call."""
    if viewer not in _SIGHTS:
        _SIGHTS[viewer] = Sight(viewer.layers)
    return _SIGHTS[viewer]
