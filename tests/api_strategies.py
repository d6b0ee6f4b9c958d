"""Generated ChatServices for property tests: valid ones, nearly valid ones, and arbitrary JSON."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from specs import ABSENT, Body, chat

REGIONS = ("hkg", "sin", "lon", "a", "r" * 23)

durations = st.one_of(
    st.sampled_from(
        ["0s", "1ms", "999ms", "1s", "59s", "60s", "1m", "1h30m", "24h", "30d", "4w", "730d", "7y", "100y"]
    ),
    st.lists(
        st.tuples(st.integers(0, 9_999_999), st.sampled_from(["ms", "s", "m", "h", "d", "w", "y"])),
        min_size=1,
        max_size=4,
    ).map(lambda parts: "".join(f"{number}{unit}" for number, unit in parts)),
)
texts = st.one_of(
    st.sampled_from(
        ["", " ", "a", "A", "-", "a-", "a.b", "a/b", "1", "x" * 64, "x\n", "é", "{{ x }}", "'", "\\", "null"]
    ),
    st.text(max_size=20),
)
quantities = st.one_of(
    st.integers(-2, 5),
    st.sampled_from(
        ["0", "1", "100m", "0.5", ".5", "1.", "1Gi", "1024Mi", "1e3", "1E", "500m", "-1", "1 Gi", "1GiB", "1e"]
    ),
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,3})?([KMGTPE]i|[numkMGTPE]|e[0-9])?", fullmatch=True),
)
counts = st.one_of(st.integers(-1, 12), st.sampled_from(["0%", "50%", "100%", "101%", "05%", "half", 10_000, 10_001]))
label_keys = st.sampled_from(
    ["a", "app", "app.kubernetes.io/name", "roadstead.dev/x", "x.roadstead.dev/y", "a/b/c", "-a", "A_b", "x" * 64, "é"]
)
label_values = st.sampled_from(["", "a", "A_b.c", "-a", "x" * 63, "x" * 64])
cidrs = st.one_of(
    st.sampled_from(
        [
            "10.0.0.0/8",
            "10.1.2.3/8",
            "10.0.0.0/08",
            "010.0.0.0/8",
            "10.0.0.0/33",
            "::/0",
            "fd00::/8",
            "::ffff:1.2.3.4/120",
            "10.0.0.0",
            "10.0.0/8",
            "1.2.3.4/32",
            "0.0.0.0/0",
            "fd00::1/128",
            "1:2:3:4:5:6:7:8:9/1",
            "fe80::1%eth0/64",
        ]
    ),
    st.from_regex(r"(10|11|010)\.[0-9]{1,3}\.0\.0/[0-9]{1,2}", fullmatch=True),
    st.from_regex(r"fd0[0-3]:(0:)?:[0-9a-f]{0,2}/[0-9]{1,3}", fullmatch=True),
)
selectors = st.fixed_dictionaries(
    {},
    optional={
        "matchLabels": st.dictionaries(label_keys, label_values, max_size=2),
        "matchExpressions": st.lists(
            st.fixed_dictionaries(
                {
                    "key": label_keys,
                    "operator": st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist", "exists"]),
                },
                optional={"values": st.lists(label_values, max_size=2)},
            ),
            max_size=2,
        ),
    },
)
peers = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "namespaceSelector": selectors,
            "podSelector": selectors,
            "ipBlock": st.fixed_dictionaries({"cidr": cidrs}, optional={"except": st.lists(cidrs, max_size=2)}),
        },
    ),
    max_size=2,
)
regions = st.lists(
    st.fixed_dictionaries(
        {"name": st.one_of(st.sampled_from(REGIONS), texts)},
        optional={"role": st.sampled_from(["Primary", "Standby"]), "replicas": st.integers(-1, 8)},
    ),
    max_size=3,
)
resources = st.dictionaries(
    st.sampled_from(["cpu", "memory", "ephemeral-storage", "gpu", "example.com/gpu", "hugepages-2Mi", "a b"]),
    quantities,
    max_size=3,
)
# Time zones and schedules are right ones only: what is wrong with them an API server cannot know.
peaks = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.sampled_from(["a", "b", "B"]),
            "timeZone": st.sampled_from(["UTC", "Asia/Hong_Kong", "America/Argentina/Ushuaia"]),
            "schedule": st.sampled_from(["0 9 11 11 *", "*/5 * * * *", "0 9 * * MON-FRI"]),
            "duration": durations,
            "replicas": st.integers(0, 12),
        },
        optional={"scaleUpBefore": durations, "scaleDownAfter": durations},
    ),
    max_size=2,
)
autoscaling = st.fixed_dictionaries(
    {"maxReplicas": st.integers(0, 12)},
    optional={
        "minReplicas": st.integers(0, 12),
        "targetCPUUtilizationPercentage": st.sampled_from([0, 1, 70, 1000, 1001]),
        "scaleDownStabilization": durations,
        "peaks": peaks,
    },
)

FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "metadata.name": st.sampled_from(["hello", "x" * 28, "x" * 29, "1st", "a.b", "a-b"]),
    "spec.image": st.one_of(
        texts, st.sampled_from(["a", "a/b", "a:1", "h:50/a", "A/b", "a:", f"a@sha256:{'0' * 64}", "a@sha256:0", "a b"])
    ),
    "spec.imagePullPolicy": st.sampled_from(["Always", "Never", "always"]),
    "spec.imagePullSecrets": st.lists(st.fixed_dictionaries({"name": texts}), max_size=2),
    "spec.topology.mode": st.sampled_from(["ActiveActive", "ActivePassive", "Both"]),
    "spec.topology.regions": regions,
    "spec.replicas": st.one_of(st.integers(-1, 12), st.sampled_from(["3", True, 1001])),
    "spec.residency": st.fixed_dictionaries(
        {"jurisdictions": st.lists(st.sampled_from(["HK", "SG", "US-CA", "UK", "XK", "hk", "HK-"]), max_size=3)}
    ),
    "spec.resources": st.fixed_dictionaries({}, optional={"requests": resources, "limits": resources}),
    "spec.autoscaling": autoscaling,
    "spec.traffic.hostname": st.one_of(
        texts, st.sampled_from(["a.example.com", "*.example.com", f"{'x' * 64}.com", "a..b"])
    ),
    "spec.traffic.port": st.sampled_from([0, 1, 443, 65535, 65536]),
    "spec.traffic.serviceAnnotations": st.dictionaries(label_keys, texts, max_size=2),
    "spec.traffic.allowFrom": peers,
    "spec.tls": st.sampled_from(
        [{}, {"issuerRef": {"name": "ca"}}, {"secretName": "a", "issuerRef": {"name": "ca"}}, {"secretName": "A"}]
    ),
    "spec.storage": st.fixed_dictionaries({"size": quantities}, optional={"storageClassName": texts}),
    "spec.config": st.dictionaries(
        st.one_of(st.sampled_from(["A", "CHAT_REGION", "POD_IP", "1A", "a-b", "A" * 129]), texts), texts, max_size=2
    ),
    "spec.disruptionBudget": st.fixed_dictionaries({}, optional={"maxUnavailable": counts, "minAvailable": counts}),
    "spec.rollout.bakeTime": durations,
    "spec.rollout.progressDeadline": durations,
    "spec.rollout.maxParallelRegions": st.integers(0, 33),
    "spec.retention.sessions": st.one_of(durations, texts),
    "spec.retention.transactions": durations,
    "spec.monitoring.labels": st.dictionaries(label_keys, label_values, max_size=2),
    "spec.termination.gracePeriod": durations,
}


@st.composite
def nearly_valid_chats(draw: st.DrawFn, namespace: str = "default") -> Body:
    """A minimal ChatService with a few fields set to something that is right, wrong or at the edge."""
    paths = draw(st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=4, unique=True))
    edits: dict[str, Any] = {}
    for path in paths:
        value = draw(st.one_of(FIELDS[path], st.sampled_from([ABSENT, None]))) if path != "metadata.name" else None
        edits[path] = draw(FIELDS[path]) if path == "metadata.name" else value
    return chat(namespace=namespace, **edits)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def broken_chats(draw: st.DrawFn) -> Body:
    """A ChatService in which a few fields are arbitrary JSON."""
    paths = draw(st.lists(st.sampled_from([*sorted(FIELDS), "spec", "metadata", "status"]), min_size=1, max_size=3))
    body = chat()
    for path in paths:
        at: Any = body
        *steps, last = path.split(".")
        for step in steps:
            if not isinstance(at.get(step), dict):
                at[step] = {}
            at = at[step]
        at[last] = draw(json_values)
    return body
