"""Evaluate predictions inside the region of interest and report the results."""
