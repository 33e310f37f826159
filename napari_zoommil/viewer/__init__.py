"""The window: the only room that knows napari, magicgui and Qt."""
