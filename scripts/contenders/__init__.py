"""Who takes part in scripts/bench.py: zchat and its peers, each used through its Python client's public API.

Rules of this folder
1. A contender is as fast as plain use of its client allows: what can be set in its favour is set, and said.
2. A contender runs in processes made by `spawn`, and only there imports its client: no one pays for another.
3. What is measured is the same for all: `Tally` counts, `processes.py` starts, and nobody has a clock of its own.
"""
