"""A load client for the chat workload that encrypts end to end and checks order and completeness.

``client`` keeps one connection alive and loses nothing over reconnects; ``sealing`` encrypts, so that the relay never
has a key; ``tally`` checks what arrives, purely; ``run`` drives many clients; ``report`` says how it went.
"""

__version__ = "0.1.0"
