"""What texts look like: each pattern, and what is said to whoever writes something else.

An API server says of a pattern only that a value "should match" it, which is no cure. So a pattern of a spec becomes a
CEL rule in the CRD, with the words that Python has for the same value.
"""

from dataclasses import dataclass

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
# A name that DNS itself can carry: at most 63 characters between two dots.
HOST_NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$"
# A label or annotation key: an optional DNS prefix and a name of at most 63 characters.
QUALIFIED_NAME = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
)
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
DATA_KEY = r"^[-._A-Za-z0-9]+$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
IMAGE = (
    r"^([a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?$"
)
# Shape only; ipaddress (here) and isCIDR (in CEL) read the numbers.
CIDR = r"^[0-9a-fA-F.:]+/[0-9]{1,3}$"
JURISDICTION = r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$"
# Five fields, no seconds and no words such as @daily; cronsim reads the rest.
CRON = r"^[0-9A-Za-z*/,?#-]+( [0-9A-Za-z*/,?#-]+){4}$"
TIME_ZONE = r"^[A-Z][-A-Za-z0-9_+]*(/[A-Za-z0-9][-A-Za-z0-9_+]*)*$"
# Seven digits, not more: the largest text (four parts of years) still fits the 64-bit milliseconds of the CEL rule.
DURATION = r"^([0-9]{1,7}(ms|s|m|h|d|w|y))+$"
# Kubernetes' grammar without a sign (nothing here may be negative); exponents as it has them.
QUANTITY = r"^([0-9]{1,15}(\.[0-9]{0,9})?|\.[0-9]{1,9})([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$"
DECIMAL = r"^-?[0-9]{1,18}(\.[0-9]{1,18})?$"
PERCENT = r"^(100|[1-9]?[0-9])%$"
# RFC 3339 as an API server reads it (format date-time): seconds and a zone are not optional.
MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
RING_ID = r"^r[a-z0-9]{12}$"
OPERATION = r"^[0-9a-f]{16}$"
FINGERPRINT = r"^[0-9a-f]{32}$"
UID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
KIND_NAME = r"^[A-Z][A-Za-z0-9]*$"
PARAMETER = r"^[a-z][A-Za-z0-9]*$"


@dataclass(frozen=True, slots=True)
class Shape:
    """Words about a pattern.

    Attributes:
        says: What a value that does not match is, to be read after it: ``not a DNS label``.
        cure: What to write instead.
    """

    says: str
    cure: str


SHAPES = {
    DNS_LABEL: Shape("not a DNS label", "write lower-case letters, digits and hyphens, such as hkg or hkg-2"),
    DNS_NAME: Shape(
        "not a name that Kubernetes takes", "write lower-case letters, digits, hyphens and dots, such as chat-tls"
    ),
    HOST_NAME: Shape(
        "not a DNS name", "write it alone, in lower case, without scheme, port or path, such as chat.example.com"
    ),
    QUALIFIED_NAME: Shape(
        "not a key of a label or annotation",
        "write up to 63 letters, digits, -, _ and ., after an optional DNS name and a slash, such as example.com/tier",
    ),
    LABEL_VALUE: Shape("not a value of a label", "write letters, digits, -, _ and ., such as front-end"),
    DATA_KEY: Shape("not a key of a Secret", "write letters, digits, -, _ and ., such as kubeconfig"),
    ENV_NAME: Shape(
        "not a name of a variable", "write letters, digits and _, not a digit first, such as CHAT_MAX_ROOMS"
    ),
    IMAGE: Shape(
        "not the name of an image",
        "write [REGISTRY[:PORT]/]NAME[:TAG][@sha256:DIGEST] without spaces and the name in lower case, such as "
        "registry.example/roadstead-chat:1.4.0",
    ),
    CIDR: Shape("not a range of addresses", "write an address and a prefix length such as 10.0.0.0/8 or fd00::/8"),
    JURISDICTION: Shape(
        "not a code of a jurisdiction", "write an alpha-2 code such as HK or GB, or a subdivision such as US-CA"
    ),
    CRON: Shape("not five cron fields", "write minute, hour, day of month, month and day of week, such as 0 9 11 11 *"),
    TIME_ZONE: Shape("not the name of a time zone", "write a name such as Asia/Hong_Kong or UTC"),
    DURATION: Shape("not a duration", "write numbers with ms, s, m, h, d, w or y, such as 1h30m"),
    QUANTITY: Shape("not a quantity", "write a number of 0 or more with an optional unit, such as 500m or 1Gi"),
    DECIMAL: Shape("not a decimal number", "write digits with at most one point, such as 99.9"),
    PERCENT: Shape("neither a count nor a percentage", "write a number from 0 to 10000, or 0% to 100%"),
    MOMENT: Shape("not a moment", "write date, time and zone, such as 2026-01-01T00:00:00Z"),
    RING_ID: Shape(
        "not the identity of a ring", "write r and 12 lower-case letters or digits, as in the ring's status"
    ),
    OPERATION: Shape("not the mark of an operation", "write 16 hexadecimal digits in lower case"),
    FINGERPRINT: Shape("not a fingerprint", "write 32 hexadecimal digits in lower case"),
    UID: Shape(
        "not the uid of an object", "write what its metadata.uid says, such as 1b4e28ba-2fa1-41d2-883f-0016d3cca427"
    ),
    KIND_NAME: Shape(
        "not a word in capitals and small letters", "write letters and digits, a capital first, such as KeyRing"
    ),
    PARAMETER: Shape("not the name of a parameter", "write letters and digits, a small letter first, such as upTo"),
}
"""The words for every pattern that a field of a spec has; the generator of CRDs refuses one that is not here."""
