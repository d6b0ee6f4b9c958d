"""The demo: what a newcomer sees first, and what the e2e layer runs as a test.

It only does what a platform engineer would: helm, kubectl and the load client. `stage` brings up clusters and images,
`acts` are the things shown, `bare` is the same without nodes, `__main__` is the order of it all.
"""
