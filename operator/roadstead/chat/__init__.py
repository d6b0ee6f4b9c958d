"""Chat services: which objects a service is made of in each region, and when a region gets a new version.

Decides, in pure files: where a service may run (`placement`), how many pods a scheduled peak needs (`peaks`), what a
revision is (`revisions`), which revision each region runs now (`rollout`), which objects that means (`desired`), and
what the status says about it (`status`). `reconcile` is the thin shell around them, with `converge` (one region),
`removal` and `history`; `bulkhead` says how many of them may be under way in a slow region.

Never: talks to a cluster outside these shells, chooses who is primary, or writes to the spec.

Acts after `regions`, which says where regions are and whether they answer.
"""
