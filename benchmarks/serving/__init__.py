"""Stress tests of a server: saturation, kills, its own OpenAPI document, and malformed bodies."""
