"""The room of regions: where services may run.

It decides whether a region is connected, healthy or cordoned, keeps the connections to member clusters, and publishes
both to the other rooms through `roadstead.kernel.fleet`. It never places, moves or removes anything, and a kubeconfig
that disappears prunes nothing. It acts before every other room.
"""
