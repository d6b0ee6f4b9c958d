"""Makes the fixtures of clusters.py known to every test."""

pytest_plugins = ["clusters"]
