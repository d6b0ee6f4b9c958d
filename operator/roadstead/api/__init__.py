"""The API of Roadstead: what a user may write and what the operator answers.

Decides: the shape, bounds, defaults and descriptions of every kind; which combinations of fields are refused, and in
which words. The pydantic models here are the only source: CRDs, the reference under docs/, admission and the command
line are made from them.

Never: talks to a cluster, reads a clock, or imports a Kubernetes client. Importing this room costs pydantic only.

Acts before every other room; imports none of them.
"""
