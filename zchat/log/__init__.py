"""Logs: in memory, on disk, and what is done to one that is at rest. What a broker asks of one: `core/log.py`."""
