"""Pictures as arrays: decode, resize, draw over. The only place that reads pixels."""
