"""What two people decide: when something that was asked for may be done, and that it is done once.

Decides the next phase of an Approval (`decide`). Never decides who may approve: that is the API server's, by a
ValidatingAdmissionPolicy of the chart, and nothing is begun where that is not in force. Never does anything itself: the
rooms offer their operations through `roadstead.kernel.operations`, and act after it, when it has written that it began.
"""
