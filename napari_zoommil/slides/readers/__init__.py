"""One reader per storage format, and the shared cache of decoded tiles."""
