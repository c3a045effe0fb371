"""Graphs for runtimes without torch, and the parity gate that each of them passes."""
