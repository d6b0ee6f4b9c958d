"""The command line ``roadstead``, also ``kubectl roadstead``.

Decides, in pure files: what is wrong with a manifest (`manifests`, `lint`), what a service would become where (`draft`,
`rehearsal`, `difference`, `plan`), what its state looks like (`overview`), what makes a cluster a region (`joining`).
The shells beside them read and write: `hub`, `status`, `explain` (with `world`, `region_plan`, `compare`), `regions`,
`versions`. `app` is the table of commands and imports none of this before a command runs, so that completion is quick.

Never: writes under the operator's field manager, writes a status, reads a member's kubeconfig by other rules than the
operator's own, or shows the content of a Secret.
"""
