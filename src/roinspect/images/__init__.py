"""Images as arrays: decode, resize, draw overlays. The only place that reads pixels."""
