"""Inspection on the line: batches, folders that are watched, tables, sinks."""
