"""The papers' tables, and the public data sets that they use, measured again by one command."""
