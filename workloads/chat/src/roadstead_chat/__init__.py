"""The reference chat workload: a WebSocket relay that stores and forwards ciphertext only."""
