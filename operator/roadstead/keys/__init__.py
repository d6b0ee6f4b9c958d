"""Keys that rotate over regions: which version is written with, who has proved that it can read it, and when it goes.

Decides, in pure files: when a version is due (`schedule`), the life of one (`versions`), the next steps of a ring and
what they wait for (`decide`), what a region's Secret and its pods' answers mean (`regional`), what is said (`status`,
`gauges`, shown by `collector`). Material is made, wrapped and opened in `deks`, by a place for KEKs (`kek`,
`kek_kubernetes`); it is in memory while a keyset is put together or an answer verified (`material`, `challenge`).
The shell is `reconcile`.

A new rule about what may happen next belongs into `decide`, and into the oracle of tests/property/keys. Never: tells
material in a status, event, log or metric; writes what it has not read in the same pass; deletes from the ledger.
"""
