"""The panels of each dashboard: a question, its queries, and the unit of the answer.

Every query is run by a test against a real Prometheus that has scraped the real operator and a real chat relay.
"""

from __future__ import annotations

from dataclasses import dataclass

RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression and the legend of its series."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One question.

    Attributes:
        title: the question, in a few words.
        description: what a good answer looks like, and where to go when it is not.
        unit: Grafana's name of the unit.
        queries: what is asked.
        rare: the series exist only once something has gone wrong or come to an end; no data is a good answer.
        width: in Grafana's grid of 24 columns.
        matrix: two labels, whose values are the rows and columns of a table of the present values; None: a graph.
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    rare: bool = False
    width: int = 12
    matrix: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard; ``uid`` is its address and the name of its file."""

    uid: str
    title: str
    description: str
    panels: tuple[Panel, ...]


OPERATOR = Board(
    uid="roadstead-operator",
    title="Roadstead / Operator",
    description="Is the operator well, and are the regions?",
    panels=(
        Panel(
            "Leaders",
            "Exactly 1. 0 for longer than the lease (15 s): nobody works; look at the pods.",
            "none",
            (Query("sum(leader_election_master_status)", "leaders"),),
            width=4,
        ),
        Panel(
            "Resources",
            "How many of our resources are ready. False: `kubectl get roadstead -A` names them.",
            "none",
            (Query("max by (kind, ready) (roadstead_resources)", "{{kind}} ready={{ready}}"),),
            width=10,
        ),
        Panel(
            "Regions that can be used",
            "1 for each region. 0: `kubectl describe region NAME` says why.",
            "none",
            (Query("max by (region) (roadstead_region_up)", "{{region}}"),),
            width=10,
        ),
        Panel(
            "Probe of each region",
            "Round trip of the last answered probe, as the operator sees it.",
            "s",
            (Query("max by (region) (roadstead_region_probe_seconds)", "{{region}}"),),
        ),
        Panel(
            "Age of the quietest watch",
            "A saw-tooth below a minute or so. Rising: that cluster no longer tells us what happens.",
            "s",
            (Query("max by (cluster) (roadstead_watch_age_seconds)", "{{cluster}}"),),
        ),
        Panel(
            "Reconciles by result",
            "Errors and requeues that do not stop mean work that does not get done.",
            "ops",
            (
                Query(
                    f"sum by (controller, result) (rate(controller_runtime_reconcile_total{RATE}))",
                    "{{controller}} {{result}}",
                ),
            ),
        ),
        Panel(
            "Time of a reconcile, 99th percentile",
            "Milliseconds when nothing is to be done; a second or so when objects are made.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (controller, le) "
                    f"(rate(controller_runtime_reconcile_time_seconds_bucket{RATE})))",
                    "{{controller}}",
                ),
            ),
        ),
        Panel(
            "Queue",
            "Keys that wait, and for how many seconds the oldest has. Rising for minutes: more work than workers.",
            "none",
            (
                Query("sum by (name) (workqueue_depth)", "{{name}} waiting"),
                Query("max(workqueue_oldest_key_age_seconds)", "age of the oldest, s"),
            ),
        ),
        Panel(
            "Time in the queue, 99th percentile",
            "How long a change waits before somebody looks at it.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (name, le) "
                    f"(rate(workqueue_queue_duration_seconds_bucket{RATE})))",
                    "{{name}}",
                ),
            ),
        ),
        Panel(
            "Requests to API servers",
            "By cluster and status; 0 is no answer at all.",
            "reqps",
            (
                Query(
                    f"sum by (cluster, code) (rate(rest_client_requests_total{RATE}))",
                    "{{cluster}} {{code}}",
                ),
            ),
        ),
        Panel(
            "Time of a request, 99th percentile",
            "By cluster. One slow region must not make the others slow.",
            "s",
            (
                Query(
                    "histogram_quantile(0.99, sum by (cluster, le) "
                    f"(rate(rest_client_request_duration_seconds_bucket{RATE})))",
                    "{{cluster}}",
                ),
            ),
        ),
        Panel(
            "Objects written",
            "Zero when nothing changes. A steady rate means that somebody fights over an object.",
            "ops",
            (
                Query(f"sum by (action) (rate(roadstead_child_writes_total{RATE}))", "{{action}}"),
                Query(f"sum by (kind) (rate(roadstead_status_writes_total{RATE}))", "status of {{kind}}"),
            ),
        ),
        Panel(
            "Foreign changes put back",
            "Each is somebody's edit that was undone; the events of the service name the object.",
            "ops",
            (Query(f"sum by (kind) (rate(roadstead_drift_repaired_total{RATE}))", "{{kind}}"),),
            rare=True,
        ),
        Panel(
            "Event loop",
            "How late the loop runs. Above 5 s the liveness probe fails.",
            "s",
            (Query("max by (instance) (roadstead_event_loop_lag_seconds)", "{{instance}}"),),
        ),
        Panel(
            "Memory and CPU",
            "Of each replica.",
            "short",
            (
                Query('process_resident_memory_bytes{job=~".*roadstead.*"}', "{{instance}} bytes"),
                Query(f'rate(process_cpu_seconds_total{{job=~".*roadstead.*"}}{RATE})', "{{instance}} cores"),
            ),
        ),
        Panel(
            "Days until the webhooks' certificate expires",
            "It is renewed at two thirds of its life; below 10 days it was not: see the leader's log.",
            "d",
            (Query("(min(roadstead_webhook_certificate_expiry_timestamp_seconds > 0) - time()) / 86400", "days"),),
            rare=True,
        ),
    ),
)

CHAT = Board(
    uid="roadstead-chat",
    title="Roadstead / Chat services",
    description="Do messages arrive, how fast, and what is refused? From the relays' own metrics.",
    panels=(
        Panel(
            "Open connections",
            "By service and region.",
            "none",
            (
                Query(
                    "sum by (service, region) "
                    "(chat_connections * on (instance) group_left (service, region) chat_info)",
                    "{{service}} {{region}}",
                ),
            ),
        ),
        Panel(
            "Messages",
            "Accepted: durable and acknowledged. Delivered: written to a receiver that was there.",
            "ops",
            (
                Query(f"sum(rate(chat_messages_accepted_total{RATE}))", "accepted"),
                Query(f"sum(rate(chat_messages_delivered_total{RATE}))", "delivered"),
                Query(f"sum(rate(chat_acks_total{RATE}))", "acknowledged by receivers"),
            ),
        ),
        Panel(
            "Delivery time",
            "From acceptance to the socket of a receiver. The service description says 50 ms in region at the 99th.",
            "s",
            (
                Query(
                    f"histogram_quantile(0.99, sum by (le) (rate(chat_delivery_seconds_bucket{RATE})))",
                    "99th percentile",
                ),
                Query(f"histogram_quantile(0.5, sum by (le) (rate(chat_delivery_seconds_bucket{RATE})))", "median"),
            ),
        ),
        Panel(
            "Time to acknowledgement",
            "From receipt of a message until it is durable. Follows the disk.",
            "s",
            (
                Query(
                    f"histogram_quantile(0.99, sum by (le) (rate(chat_accept_seconds_bucket{RATE})))",
                    "99th percentile",
                ),
                Query(
                    f"histogram_quantile(0.99, sum by (le) (rate(chat_store_commit_seconds_bucket{RATE})))",
                    "commit, 99th percentile",
                ),
            ),
        ),
        Panel(
            "Refused",
            "By code; each code says in the log what the client did.",
            "ops",
            (Query(f"sum by (code) (rate(chat_messages_refused_total{RATE}))", "{{code}}"),),
            rare=True,
        ),
        Panel(
            "Logins",
            "Attempts by outcome, and accounts that were locked.",
            "ops",
            (
                Query(f"sum by (outcome) (rate(chat_connects_total{RATE}))", "{{outcome}}"),
                Query(f"sum(rate(chat_lockouts_total{RATE}))", "locked"),
            ),
        ),
        Panel(
            "Replicas",
            "Other replicas that are read, failures to read them, and messages taken over.",
            "none",
            (
                Query("sum(chat_peers)", "peers"),
                Query(f"sum(rate(chat_peer_failures_total{RATE}))", "failures a second"),
                Query(f"sum(rate(chat_messages_replicated_total{RATE}))", "messages a second"),
            ),
        ),
        Panel(
            "Relays that drain",
            "Above 0 while pods are replaced; for long: a drain does not end.",
            "none",
            (Query("sum(chat_draining)", "draining"),),
        ),
    ),
)

_RING = "roadstead_namespace, ring"
_LEGEND = "{{roadstead_namespace}}/{{ring}}"


def _ring(metric: str, *more: str) -> str:
    """A series of rings: every replica of the operator shows the same, or lags."""
    return f"max by ({', '.join((_RING, *more))}) (roadstead_keyring_{metric})"


def _named(expression: str) -> str:
    """The same with one label for namespace and ring, to be the row of a matrix."""
    return f'label_join({expression}, "keyring", "/", "roadstead_namespace", "ring")'


KEYS = Board(
    uid="roadstead-keys",
    title="Roadstead / Keys",
    description="Do keys change as often as was promised, who has proved what, and what is waited for?",
    panels=(
        Panel(
            "Age of the primary, in periods",
            "A saw-tooth up to a little more than 1. A ticket at 1.25, a page at 2.",
            "none",
            (
                Query(
                    f"(time() - {_ring('primary_timestamp_seconds')}) / {_ring('period_seconds')}",
                    _LEGEND,
                ),
            ),
        ),
        Panel(
            "Time until the next version is due",
            "Below 0: it is due, and nothing has begun it yet. A suspended ring has no line.",
            "s",
            (Query(f"{_ring('next_rotation_timestamp_seconds')} - time()", _LEGEND),),
        ),
        Panel(
            "Not proved, ring by region",
            "Pods that have not proved the version to write with; 0 is good. `roadstead keys status` has the versions.",
            "none",
            (
                Query(
                    _named(f"{_ring('pods', 'region')} - {_ring('proved_pods', 'region')}"),
                    "",
                ),
            ),
            matrix=("keyring", "region"),
        ),
        Panel(
            "Pods, ring by region",
            "Pods that use the ring.",
            "none",
            (Query(_named(_ring("pods", "region")), ""),),
            matrix=("keyring", "region"),
        ),
        Panel(
            "What is waited for",
            "Since when, by reason and region. Lead and Soak end by themselves; 15 minutes of NotProved or "
            "OldPrimaryInUse are a ticket.",
            "s",
            (
                Query(
                    f"time() - {_ring('wait_timestamp_seconds', 'region', 'reason')}",
                    f"{_LEGEND} {{{{reason}}}} {{{{region}}}}",
                ),
            ),
        ),
        Panel(
            "Generation of the keysets",
            "A step each time a region is given another keyset. Steps without a rotation: somebody edits it.",
            "none",
            (Query(_ring("generation", "region"), f"{_LEGEND} {{{{region}}}}"),),
        ),
        Panel(
            "Versions by phase",
            "Of all rings. Discarded ones that grow: rotations that come to nothing.",
            "none",
            (
                Query(
                    f"sum by (phase) ({_ring('versions', 'phase')})",
                    "{{phase}}",
                ),
            ),
        ),
        Panel(
            "Versions in the keysets",
            "A ticket above 500; no rotation from 1,500 on.",
            "none",
            (Query(_ring("keyset_versions"), _LEGEND),),
        ),
        Panel(
            "Time until the next version retires",
            "By `spec.retention`: then no region reads it any more. Below 0: it is waited for something else.",
            "s",
            (Query(f"{_ring('retirement_timestamp_seconds')} - time()", _LEGEND),),
        ),
        Panel(
            "Time until the next version may be removed",
            "By `spec.removalDelay`, and by an Approval. Below 0: it may be, and nobody has asked for it.",
            "s",
            (Query(f"{_ring('removal_timestamp_seconds')} - time()", _LEGEND),),
            rare=True,
        ),
        Panel(
            "Data to be written anew",
            "Ciphertexts that pods store, of versions that nobody writes with; and pods that have not said how many.",
            "none",
            (
                Query(_ring("rewrap_remaining"), f"{_LEGEND} ciphertexts"),
                Query(_ring("rewrap_silent_pods"), f"{_LEGEND} silent pods"),
            ),
            rare=True,
        ),
        Panel(
            "Regions that are excluded",
            "0. 1: rotations do not wait for the region, and it may be unable to read what others write.",
            "none",
            (Query(_ring("excluded", "region"), f"{_LEGEND} {{{{region}}}}"),),
        ),
        Panel(
            "Retired versions that are handed out again",
            "0. More: data lives longer than its retention says.",
            "none",
            (Query(_ring("returned_versions"), _LEGEND),),
        ),
        Panel(
            "Age of the key-encryption key, in periods",
            "Up to 1. A ticket at 1.25.",
            "none",
            (Query(f"(time() - {_ring('kek_timestamp_seconds')}) / {_ring('kek_period_seconds')}", _LEGEND),),
        ),
        Panel(
            "Versions to be wrapped anew",
            "Rises when the key-encryption key rotates, and falls to 0.",
            "none",
            (Query(_ring("kek_rewraps_remaining"), _LEGEND),),
        ),
        Panel(
            "What providers of key-encryption keys did not do",
            "By reason; each is in troubleshooting. A rate that stays becomes the ticket ProviderFailed.",
            "ops",
            (
                Query(
                    f"sum by (provider, reason) (rate(roadstead_kek_provider_errors_total{RATE}))",
                    "{{provider}} {{reason}}",
                ),
            ),
            rare=True,
        ),
        Panel(
            "Clock of the operator against the hub's",
            "Between -2 s and 2 s. A ticket from 5 s on; rings stand still from 30 s on.",
            "s",
            (Query("max by (cluster) (roadstead_clock_ahead_seconds)", "{{cluster}}"),),
        ),
        Panel(
            "Rings by phase",
            "Blocked: nothing goes on before somebody has changed something.",
            "none",
            (Query("max by (phase) (roadstead_keyrings)", "{{phase}}"),),
        ),
    ),
)

BOARDS = (OPERATOR, KEYS, CHAT)
