"""The reference chat workload: a WebSocket relay that stores and forwards ciphertext only.

It accepts sealed messages from accounts, makes them durable, acknowledges them, and delivers them to every member of
the room, in an order in which nobody sees an answer before the question. It never holds a key that opens a message.

Read in this order: ``cursor`` (the rules of order and of "already seen"), ``journal`` (the rules applied to SQLite),
``writer`` (group commit), ``relay`` (who hears what), ``connection`` (one client), ``peers`` and ``peer_stream`` (how
replicas share their logs), ``server`` (start, drain, stop).
"""

__version__ = "0.1.0"
