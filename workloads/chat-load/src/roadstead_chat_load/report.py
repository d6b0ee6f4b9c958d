"""The result of a run: figures, verdict, and two ways to print them. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Of a set of durations, in milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float


def percentiles(seconds: Sequence[float]) -> Percentiles:
    """Return the percentiles by nearest rank; zeros when there is nothing."""
    if not seconds:
        return Percentiles(0.0, 0.0, 0.0, 0.0)
    ordered = sorted(seconds)
    last = len(ordered) - 1

    def at(share: float) -> float:
        return round(ordered[min(last, int(share * len(ordered)))] * 1000, 3)

    return Percentiles(at(0.50), at(0.95), at(0.99), round(ordered[-1] * 1000, 3))


@dataclass(frozen=True, slots=True)
class Report:
    """What a run found.

    Attributes:
        messages: sent.
        acknowledged: of these, durable according to the relay.
        refused: of these, refused for good.
        expected: deliveries that all sent messages make, one for each member of their room.
        delivered: different messages that members got.
        ratio: delivered / expected.
        acknowledged_but_lost: deliveries of acknowledged messages that are missing.
        duplicates: deliveries of a message that the member had already.
        out_of_order: deliveries before an earlier message of the same sender.
        undecryptable: payloads that did not open, or that another account had sealed.
        reconnects: connections after the first, of all clients.
        retries: messages sent again for want of an answer.
        closes: close codes that clients saw.
        seconds: from the first message to the end.
        per_second: acknowledged messages per second until the last acknowledgement.
        latency_ms: from the first attempt to send, to the decryption by a member.
        acknowledgement_ms: from the first attempt to send, to the acknowledgement.
        interrupted: the run ended by its time limit.
    """

    messages: int
    acknowledged: int
    refused: dict[str, int]
    expected: int
    delivered: int
    ratio: float
    acknowledged_but_lost: int
    duplicates: int
    out_of_order: int
    undecryptable: int
    reconnects: int
    retries: int
    closes: dict[str, int]
    seconds: float
    per_second: float
    latency_ms: Percentiles
    acknowledgement_ms: Percentiles
    interrupted: bool

    def broken(self, min_ratio: float) -> list[str]:
        """Return one sentence for each guarantee that did not hold."""
        found = []
        if self.acknowledged_but_lost:
            found.append(f"{self.acknowledged_but_lost} deliveries of acknowledged messages are missing")
        if self.ratio < min_ratio:
            found.append(f"the delivery ratio is {self.ratio:.6f}, below {min_ratio}")
        if self.duplicates:
            found.append(f"{self.duplicates} messages were delivered twice")
        if self.out_of_order:
            found.append(f"{self.out_of_order} messages came before an earlier one of the same sender")
        if self.undecryptable:
            found.append(f"{self.undecryptable} payloads could not be decrypted")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the figures for JSON."""
        return asdict(self)

    def as_text(self) -> str:
        """Return the figures for a person."""
        latency, answer = self.latency_ms, self.acknowledgement_ms
        refused = "".join(f", {count} refused: {code}" for code, count in sorted(self.refused.items()))
        return "\n".join(
            (
                f"messages        {self.messages} sent, {self.acknowledged} acknowledged{refused}",
                f"deliveries      {self.delivered} of {self.expected}, ratio {self.ratio:.6f}",
                f"lost            {self.acknowledged_but_lost} after acknowledgement",
                f"wrong           {self.duplicates} twice, {self.out_of_order} out of order, "
                f"{self.undecryptable} undecryptable",
                f"connections     {self.reconnects} reconnects, {self.retries} retries",
                f"rate            {self.per_second:.0f} messages/s acknowledged, {self.seconds:.1f} s in all",
                f"latency ms      p50 {latency.p50}  p95 {latency.p95}  p99 {latency.p99}  max {latency.max}",
                f"ack ms          p50 {answer.p50}  p95 {answer.p95}  p99 {answer.p99}  max {answer.max}",
            )
        )
