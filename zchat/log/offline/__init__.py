"""What is done with a log on disk without its broker, or beside it: check, repair, export, import, copy, remove."""
