"""Real Kubernetes on one machine, for tests, demo and benchmarks: bare control planes and kind clusters.

Decides where binaries, ports and directories come from and who stops what was started. It never knows anything about
Roadstead's own kinds: that is for the tests and the demo that stand on it. Start with README.md of this folder.
"""
