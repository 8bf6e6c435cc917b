"""The log on disk, for the broker that has it open: `log.py` is what a broker uses, the rest are its parts."""
