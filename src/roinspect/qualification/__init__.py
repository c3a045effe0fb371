"""Qualification: a plan written before the test, and one command that says whether it is met."""
