"""One reader per way of storing a slide, and the cache of decoded tiles that they share."""
