"""The thin shells around `roadstead.admission.certificates`: one writes, on the leader; one reads, on every replica."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from roadstead.admission.certificates import (
    CERT_MANAGER_ANNOTATION,
    DEFAULT_LIFETIMES,
    SERVING_CERTIFICATE,
    SERVING_KEY,
    Keep,
    Lifetimes,
    Material,
    carry_out,
    decide,
    read_secret,
    secret_data,
    secret_entry,
)
from roadstead.admission.tls import ServingTls
from roadstead.kernel.errors import Conflict, Fatal, Invalid, NotFound, RoadsteadError
from roadstead.kernel.objects import FIELD_MANAGER, SECRETS, Gvr

logger = logging.getLogger(__name__)

WEBHOOK_CONFIGURATIONS = Gvr(
    "admissionregistration.k8s.io",
    "v1",
    "validatingwebhookconfigurations",
    "ValidatingWebhookConfiguration",
    namespaced=False,
)

READ_INTERVAL = 15.0
"""Seconds between two reads of the Secret by each replica; far below `Lifetimes.overlap`."""
FIRST_READ_INTERVAL = 0.5
"""Seconds between two reads until there is something to serve."""
TEND_INTERVAL = 15.0
"""Longest time in seconds between two looks of the leader: how soon a deleted Secret or a lost caBundle is mended."""
RETRY_INTERVAL = 2.0
"""Seconds to the next look after a failure."""


class SecretsReader(Protocol):
    """What following a Secret needs of a cluster; `roadstead.kernel.client.ClusterClient` has it."""

    async def find(self, gvr: Gvr, namespace: str, name: str) -> dict[str, Any] | None:
        """Read one object, None when it does not exist."""


class CertificateCluster(SecretsReader, Protocol):
    """What keeping certificates needs of a cluster; `roadstead.kernel.client.ClusterClient` has it."""

    async def create(self, gvr: Gvr, namespace: str, body: Mapping[str, Any], *, manager: str) -> dict[str, Any]:
        """Create, `Conflict` when it is there."""

    async def replace(
        self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        """Write whole, `Conflict` when the resourceVersion is not the current one."""

    async def apply(
        self, gvr: Gvr, namespace: str, name: str, body: Mapping[str, Any], *, manager: str
    ) -> dict[str, Any]:
        """Server-side apply."""


class Time(Protocol):
    """What the loops need of a clock; `roadstead.kernel.clock.Clock` has it."""

    def now(self) -> datetime:
        """The present moment, in UTC."""

    async def sleep(self, delay: float) -> None:
        """Wait for ``delay`` seconds."""


class CertificateKeeper:
    """Keeps the Secret and the ``caBundle`` as `certificates.decide` wants them. Run it on the leader only.

    Two at once would do no harm, for every write of the Secret is a compare-and-swap, but half of their writes would be
    conflicts.

    Args:
        cluster: the hub.
        namespace: the operator's own.
        secret: the Secret's name.
        configuration: name of the ValidatingWebhookConfiguration, which belongs to the chart.
        names: see `certificates.serving_names`.
        clock: time.
        lifetimes: how long certificates hold.
    """

    def __init__(
        self,
        cluster: CertificateCluster,
        *,
        namespace: str,
        secret: str,
        configuration: str,
        names: tuple[str, ...],
        clock: Time,
        lifetimes: Lifetimes = DEFAULT_LIFETIMES,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._secret = secret
        self._configuration = configuration
        self._names = names
        self._clock = clock
        self._lifetimes = lifetimes

    async def run(self) -> None:
        """Tend until cancelled; failures are logged and tried again."""
        while True:
            try:
                delay = await self.tend()
            except Fatal:
                raise  # the lease is lost: not ours to survive
            except Conflict:
                delay = 0.1  # somebody else wrote between our read and our write: look again
            except RoadsteadError as error:
                logger.warning("the webhooks' certificates cannot be kept: %s", error)
                delay = RETRY_INTERVAL
            await self._clock.sleep(delay)

    async def tend(self) -> float:
        """Look once, publish what is there, and do the one thing that is due.

        Returns:
            Seconds after which to look again.

        Raises:
            RoadsteadError: the cluster refused or did not answer; nothing is half-done.
        """
        secret = await self._cluster.find(SECRETS, self._namespace, self._secret)
        found = read_secret(secret)
        # Published before anything is decided: a promotion must follow a bundle that API servers have.
        published = isinstance(found, Material) and await self._publish(found)
        now = self._clock.now()
        action = decide(found, self._names, published=published, now=now, lifetimes=self._lifetimes)
        if isinstance(action, Keep):
            return min(TEND_INTERVAL, max(0.0, (action.until - now) / timedelta(seconds=1)))
        logger.info("webhook certificates: %s, because %s", type(action).__name__, action.reason)
        await self._write(secret, carry_out(action, found, self._names, now=now, lifetimes=self._lifetimes))
        return 0.0

    async def _write(self, present: dict[str, Any] | None, material: Material) -> None:
        data = secret_data(material)
        if present is None:
            body = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {
                    "name": self._secret,
                    "namespace": self._namespace,
                    "labels": {"app.kubernetes.io/part-of": "roadstead"},
                },
                "type": "kubernetes.io/tls",
                "data": data,
            }
            await self._cluster.create(SECRETS, self._namespace, body, manager=FIELD_MANAGER)
            return
        metadata = present["metadata"]
        if CERT_MANAGER_ANNOTATION in (metadata.get("annotations") or {}):
            raise Invalid(
                f"Secret {self._namespace}/{self._secret} belongs to cert-manager; either set "
                "webhooks.certificates.mode to CertManager, or delete the Certificate and the Secret"
            )
        # With the resourceVersion that was read: `Conflict` when somebody else wrote meanwhile.
        await self._cluster.replace(
            SECRETS, self._namespace, self._secret, {**present, "data": data}, manager=FIELD_MANAGER
        )

    async def _publish(self, material: Material) -> bool:
        """Have the webhooks trust the bundle; True when they already did."""
        present = await self._cluster.find(WEBHOOK_CONFIGURATIONS, "", self._configuration)
        if present is None:
            raise NotFound(
                f"there is no ValidatingWebhookConfiguration {self._configuration}; install it with the chart, "
                "or start the operator with --webhook-port 0"
            )
        bundle = base64.b64encode(material.bundle).decode()
        webhooks = present.get("webhooks") or []
        if all((webhook.get("clientConfig") or {}).get("caBundle") == bundle for webhook in webhooks):
            return True
        body = {
            "apiVersion": WEBHOOK_CONFIGURATIONS.api_version,
            "kind": WEBHOOK_CONFIGURATIONS.kind,
            # The uid: apply would otherwise create a configuration that was deleted meanwhile.
            "metadata": {"name": self._configuration, "uid": present["metadata"]["uid"]},
            "webhooks": [{"name": webhook["name"], "clientConfig": {"caBundle": bundle}} for webhook in webhooks],
        }
        await self._cluster.apply(WEBHOOK_CONFIGURATIONS, "", self._configuration, body, manager=FIELD_MANAGER)
        logger.info("webhook certificates: caBundle of %s written", self._configuration)
        return False


class CertificateFollower:
    """Loads what the Secret holds into the server's TLS context. Runs on every replica; also for cert-manager's Secret.

    Args:
        cluster: the hub.
        namespace: the operator's own.
        secret: the Secret's name.
        tls: what to load into.
        clock: time.
        interval: seconds between two reads.
    """

    def __init__(
        self,
        cluster: SecretsReader,
        *,
        namespace: str,
        secret: str,
        tls: ServingTls,
        clock: Time,
        interval: float = READ_INTERVAL,
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._secret = secret
        self._tls = tls
        self._clock = clock
        self._interval = interval

    async def run(self) -> None:
        """Follow until cancelled; failures are logged, and what was loaded is served on."""
        while True:
            try:
                await self.load()
            except (RoadsteadError, ValueError) as error:
                logger.warning("Secret %s/%s cannot be served: %s", self._namespace, self._secret, error)
            await self._clock.sleep(self._interval if self._tls.loaded.is_set() else FIRST_READ_INTERVAL)

    async def load(self) -> bool:
        """Read once; True when something new is served.

        Raises:
            RoadsteadError: the cluster refused or did not answer.
            ValueError: the Secret holds no certificate and key that belong together.
        """
        secret = await self._cluster.find(SECRETS, self._namespace, self._secret)
        if secret is None:
            return False  # the leader is about to make it, or cert-manager
        changed = self._tls.load(secret_entry(secret, SERVING_CERTIFICATE), secret_entry(secret, SERVING_KEY))
        if changed:
            logger.info("webhook certificate loaded, valid until %s", self._tls.not_after)
        return changed
