"""A load client for the chat workload that encrypts end to end and checks order and completeness."""
