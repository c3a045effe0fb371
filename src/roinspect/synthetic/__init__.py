"""Synthetic products, drawn with their defects and regions of interest."""
