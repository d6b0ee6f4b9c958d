"""The reconcile engine: what every room stands on.

It decides how work is queued, retried and bounded; how a cluster is read, written and watched; when an object is
ours, converged or foreign; who leads. It never decides what a kind should look like: rooms do.
"""
