"""Losses, noise and networks: plain functions first, modules that wrap them."""
