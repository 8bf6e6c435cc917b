"""Test vectors of the protocol for clients in any language: JSON files, made by `make.py` from the code."""
