"""Open sealed keysets inside a pod, with a private key that stays in the region.

It runs beside a workload, whose library `roadstead_keys` reads what is written here. The process that stays in memory
is small: it watches what is mounted. Whatever has to do with keys is done by another, `roadstead_keys_agent.opener`,
that lives for one keyset: a library for an HSM may hang or crash, and nothing of a key stays behind.
"""
