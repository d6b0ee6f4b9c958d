"""Roadstead: a Kubernetes operator that runs workloads over several regions and keeps them available."""

__version__ = "0.1.0"
