"""``scripts/test``: decides which layers run, prepares what each needs, and adds up what came of it.

The tests themselves are in tests/ and know nothing of this; ``pytest tests/unit`` works as well.
"""
