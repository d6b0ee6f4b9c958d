"""Settings from the environment, checked at the start: every problem at once, each with its cure."""

import base64
import binascii
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

DAY = 86_400
PEER_PORT = 8443
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


class Role(Enum):
    """What the platform made of this region for the service."""

    ACTIVE = "active"
    """One of several equal regions: accepts messages."""
    PRIMARY = "primary"
    """The one region that accepts messages."""
    STANDBY = "standby"
    """Serves readers and refuses messages until the platform promotes it."""

    @property
    def accepts_messages(self) -> bool:
        """Whether a client may send here."""
        return self is not Role.STANDBY


class ConfigError(Exception):
    """The environment cannot be used; ``problems`` has one sentence per variable."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """One entry of CHAT_PEERS: a DNS name or an address, and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Config:
    """All settings; docs/workload-contract.md has the table for people.

    Durations are seconds, sizes bytes. An empty ``listen_host`` means every address, of IPv4 and IPv6.
    """

    service: str
    region: str
    role: Role
    store: Path
    peers: tuple[PeerAddress, ...]
    pod_name: str
    pod_ip: str
    pod_uid: str
    token_public_keys: tuple[bytes, ...]
    tls_dir: Path
    listen_host: str
    listen_port: int
    ops_port: int
    retention_sessions: int
    retention_cookies: int
    retention_transactions: int
    drain_seconds: int
    catch_up_seconds: int
    copy_seconds: int
    lock_after: int
    lock_seconds: int
    max_message_bytes: int
    max_connections: int
    max_rooms: int
    queue_bytes: int
    stall_seconds: int
    messages_per_second: int
    keys_dir: Path | None
    keys_rewrap_dir: Path | None
    keys_receipts: str
    keys_refresh_seconds: int
    rewrap_per_second: int
    unknown: tuple[str, ...]


class _Reader:
    """Takes variables out of an environment and collects what is wrong with them."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[str] = []
        self.known: set[str] = set()

    def text(self, name: str, default: str | None = None) -> str:
        self.known.add(name)
        value = self.environ.get(name, "").strip() or default
        if value is None:
            self.problems.append(f"{name} is not set; set it")
            return ""
        return value

    def directory(self, name: str) -> Path | None:
        raw = self.text(name, "")
        if raw and not Path(raw).is_absolute():
            self.problems.append(f"{name} is {raw[:80]!r}; write an absolute path, or leave it out")
        return Path(raw) if raw else None

    def label(self, name: str) -> str:
        value = self.text(name)
        if value and (len(value) > 253 or not _NAME.fullmatch(value)):
            self.problems.append(
                f"{name} is {value[:80]!r}; write lower-case letters, digits, '-' and '.', such as 'desk' or 'hkg'"
            )
        return value

    def integer(self, name: str, default: int, low: int, high: int, unit: str) -> int:
        raw = self.text(name, str(default))
        try:
            value = int(raw)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            self.problems.append(f"{name} is {raw[:80]!r}; write a whole number of {unit} from {low} to {high}")
            return default
        return value

    def role(self, name: str) -> Role:
        raw = self.text(name, Role.ACTIVE.value)
        try:
            return Role(raw)
        except ValueError:
            self.problems.append(f"{name} is {raw[:80]!r}; write one of {', '.join(role.value for role in Role)}")
            return Role.STANDBY

    def public_keys(self, name: str) -> tuple[bytes, ...]:
        raw = self.text(name, "")
        keys = []
        for part in filter(None, (part.strip() for part in raw.split(","))):
            try:
                key = base64.b64decode(part, validate=True)
            except (binascii.Error, ValueError):
                key = b""
            if len(key) != 32:
                self.problems.append(
                    f"{name} has the entry {part[:60]!r}, which is not a base64 Ed25519 public key of 32 bytes; "
                    "write what `roadstead-chat-load keygen` prints, several joined by commas"
                )
            keys.append(key)
        if not keys:
            self.problems.append(
                f"{name} is empty, so no account could log in; "
                "write the base64 Ed25519 public keys that sign account tokens, joined by commas"
            )
        return tuple(keys)

    def peers(self, name: str) -> tuple[PeerAddress, ...]:
        entries = []
        for part in filter(None, (part.strip() for part in self.text(name, "").split(","))):
            address = parse_peer(part)
            if address is None:
                self.problems.append(
                    f"{name} has the entry {part[:80]!r}; write a DNS name, or host:port, several joined by commas"
                )
            else:
                entries.append(address)
        return tuple(entries)


def parse_peer(text: str) -> PeerAddress | None:
    """Parse ``host``, ``host:port`` or ``[v6]:port``; None when it is none of them."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            return None
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not re.fullmatch(r"[A-Za-z0-9._:-]+", host):
        return None
    if not port:
        return PeerAddress(host, PEER_PORT) if not text.endswith(":") else None
    if not port.isdecimal() or not 1 <= int(port) <= 65_535:
        return None
    return PeerAddress(host, int(port))


def load(environ: Mapping[str, str]) -> Config:
    """Read the settings.

    Raises:
        ConfigError: one or more variables cannot be used.
    """
    read = _Reader(environ)
    config = Config(
        service=read.label("CHAT_SERVICE"),
        region=read.label("CHAT_REGION"),
        role=read.role("CHAT_ROLE"),
        store=Path(read.text("CHAT_STORE", "/data/chat.db")),
        peers=read.peers("CHAT_PEERS"),
        pod_name=environ.get("POD_NAME", ""),
        pod_ip=environ.get("POD_IP", ""),
        pod_uid=environ.get("POD_UID", ""),
        token_public_keys=read.public_keys("CHAT_TOKEN_PUBLIC_KEYS"),
        tls_dir=Path(read.text("CHAT_TLS_DIR", "/etc/chat/tls")),
        listen_host=read.text("CHAT_LISTEN_HOST", ""),
        listen_port=read.integer("CHAT_LISTEN_PORT", 8443, 0, 65_535, "port"),
        ops_port=read.integer("CHAT_OPS_PORT", 9090, 0, 65_535, "port"),
        retention_sessions=read.integer("CHAT_RETENTION_SESSIONS_SECONDS", 30 * DAY, 1, 36_500 * DAY, "seconds"),
        retention_cookies=read.integer("CHAT_RETENTION_COOKIES_SECONDS", 730 * DAY, 1, 36_500 * DAY, "seconds"),
        retention_transactions=read.integer(
            "CHAT_RETENTION_TRANSACTIONS_SECONDS", 7 * 365 * DAY, 1, 36_500 * DAY, "seconds"
        ),
        drain_seconds=read.integer("CHAT_DRAIN_SECONDS", 30, 0, 3_600, "seconds"),
        catch_up_seconds=read.integer("CHAT_CATCH_UP_SECONDS", 5, 0, 600, "seconds"),
        copy_seconds=read.integer("CHAT_COPY_SECONDS", 2, 0, 60, "seconds"),
        lock_after=read.integer("CHAT_LOCK_AFTER", 3, 1, 1_000, "failed logins"),
        lock_seconds=read.integer("CHAT_LOCK_SECONDS", 900, 1, 365 * DAY, "seconds"),
        max_message_bytes=read.integer("CHAT_MAX_MESSAGE_BYTES", 65_536, 1, 1_048_576, "bytes"),
        max_connections=read.integer("CHAT_MAX_CONNECTIONS", 20_000, 1, 1_000_000, "connections"),
        max_rooms=read.integer("CHAT_MAX_ROOMS", 256, 1, 100_000, "rooms per connection"),
        queue_bytes=read.integer("CHAT_QUEUE_BYTES", 1_048_576, 1_024, 1_073_741_824, "bytes per connection"),
        stall_seconds=read.integer("CHAT_STALL_SECONDS", 20, 1, 3_600, "seconds"),
        messages_per_second=read.integer(
            "CHAT_MESSAGES_PER_SECOND", 100, 1, 1_000_000, "messages per second and connection"
        ),
        keys_dir=read.directory("CHAT_KEYS_DIR"),
        keys_rewrap_dir=read.directory("CHAT_KEYS_REWRAP_DIR"),
        keys_receipts=read.text("CHAT_KEYS_RECEIPTS", ""),
        keys_refresh_seconds=read.integer("CHAT_KEYS_REFRESH_SECONDS", 60, 1, 3_600, "seconds"),
        rewrap_per_second=read.integer("CHAT_REWRAP_PER_SECOND", 1_000, 1, 1_000_000, "messages per second"),
        unknown=(),
    )
    if config.keys_receipts and not config.pod_uid:
        read.problems.append("POD_UID is not set, and CHAT_KEYS_RECEIPTS is; set it to metadata.uid of the pod")
    if not config.store.is_absolute():
        read.problems.append(f"CHAT_STORE is {str(config.store)!r}; write an absolute path such as /data/chat.db")
    if read.problems:
        raise ConfigError(read.problems)
    return _with_unknown(config, environ, read.known)


def _with_unknown(config: Config, environ: Mapping[str, str], known: set[str]) -> Config:
    """Note misspelt variables: a warning only, as Kubernetes injects CHAT_..._PORT for a Service named chat-..."""
    notes = []
    for name in sorted(environ):
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name.startswith("CHAT_") and name not in known and close:
            notes.append(f"{name} is not a setting and does nothing; did you mean {close[0]}?")
    return replace(config, unknown=tuple(notes))
