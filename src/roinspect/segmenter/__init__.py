"""A network that draws regions of interest."""
