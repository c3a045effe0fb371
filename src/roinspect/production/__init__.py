"""Inspection on the line: batches, watched folders, tables, sinks."""
