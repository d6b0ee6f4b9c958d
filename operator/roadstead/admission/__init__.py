"""Admission: what is said to a person at the moment of ``kubectl apply``, for all that CEL cannot say.

Decides: whether a change to one of our kinds is refused, and with which words (`rules`); when a certificate or its CA
is made anew (`certificates`). Serves the answers on every replica (`server`, `webhook`) and keeps the certificates
(`keeper`), the latter on the leader only.

Never: changes an object, answers for a kind that is not ours, or says yes because it could not look. The reconcilers do
not rely on it: an object that got past (the webhooks were off, the rules are newer) is met by a condition there.
"""
