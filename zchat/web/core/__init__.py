"""The decisions of the web gateway: no socket, clock or task."""
