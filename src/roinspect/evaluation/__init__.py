"""Scores predictions inside the region of interest, and shows what came out."""
