"""Saola: a pre-fork application server with its core in C."""
