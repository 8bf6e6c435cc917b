"""The chat on any terminal: lines come above the line that is typed. No cursor is moved but within that line.

Docs: docs/chat.md, "Plain".
"""
