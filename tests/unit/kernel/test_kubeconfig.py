"""A region's kubeconfig is untrusted: what is taken, what is refused, and that refusing is quick and says no secret.

Mutants that these tests were seen to kill: any name taken out of `_CURES` and put into the accepted fields; the look
for aliases left out (the bomb runs for minutes); `_check_pair` left out; the fragment and query of a server accepted.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml

from roadstead.kernel.errors import UntrustedKubeconfig
from roadstead.kernel.kubeconfig import MAX_BYTES, parse
from unit.kernel.kubeconfigs import AUTHORITY, OTHER_PAIR, PAIR, b64, document, encrypted, kubeconfig

CERTIFICATE, KEY = b64(PAIR.certificate), b64(PAIR.key)


def test_a_token_is_taken() -> None:
    access = parse(kubeconfig(cluster={"server": "https://10.0.0.1:6443/"}))
    assert (access.server, access.token, access.client_key) == ("https://10.0.0.1:6443", "s3cret-token", None)
    assert access.ca == AUTHORITY.pair.certificate.decode()


def test_a_client_certificate_and_a_server_name_are_taken() -> None:
    user = {"token": ..., "client-certificate-data": CERTIFICATE, "client-key-data": KEY}
    access = parse(kubeconfig(user=user, cluster={"tls-server-name": "kubernetes"}))
    assert access.client_certificate == PAIR.certificate.decode()
    assert (access.token, access.tls_server_name) == (None, "kubernetes")


def test_nothing_secret_is_in_its_repr() -> None:
    assert repr(parse(kubeconfig())) == "MemberAccess(server='https://10.0.0.1:6443')"


def test_only_the_current_context_counts() -> None:
    whole = document()
    whole["users"].insert(0, {"name": "evil", "user": {"exec": {"command": "/bin/sh"}}})
    assert parse(yaml.safe_dump(whole).encode()).token == "s3cret-token"


def test_fields_that_are_switched_off_do_no_harm() -> None:
    off = {"insecure-skip-tls-verify": False, "proxy-url": "", "certificate-authority": None}
    assert parse(kubeconfig(cluster=off, user={"exec": None, "username": ""})).token


def test_extensions_are_ignored() -> None:
    assert parse(kubeconfig(cluster={"extensions": [{"name": "x"}]}, user={"extensions": []})).token


def test_a_token_of_digits_is_text() -> None:
    assert parse(kubeconfig().replace(b"s3cret-token", b"12345")).token == "12345"


EXEC = {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", "id > /tmp/owned"]}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a command": ({"user": {"exec": EXEC}}, "user.exec"),
    "an auth provider": ({"user": {"auth-provider": {"name": "gcp"}}}, "user.auth-provider"),
    "a token file": ({"user": {"tokenFile": "/var/run/secrets/token"}}, "user.tokenFile"),
    "a certificate file": ({"user": {"client-certificate": "/etc/x"}}, "user.client-certificate"),
    "a key file": ({"user": {"client-key": "/etc/x"}}, "user.client-key"),
    "a user name": ({"user": {"username": "admin"}}, "user.username"),
    "a password": ({"user": {"password": "hunter2"}}, "user.password"),
    "impersonation": ({"user": {"as": "system:admin"}}, "user.as"),
    "impersonation of groups": ({"user": {"as-groups": ["system:masters"]}}, "user.as-groups"),
    "a field of tomorrow": ({"user": {"new-way-to-run-code": "x"}}, "user.new-way-to-run-code"),
    "no verification": ({"cluster": {"insecure-skip-tls-verify": True}}, "cluster.insecure-skip-tls-verify"),
    "no verification, as text": ({"cluster": {"insecure-skip-tls-verify": "true"}}, "insecure-skip-tls-verify"),
    "a CA file": ({"cluster": {"certificate-authority": "/etc/passwd"}}, "cluster.certificate-authority"),
    "a proxy": ({"cluster": {"proxy-url": "http://10.0.0.9:3128"}}, "cluster.proxy-url"),
    "plain http": ({"cluster": {"server": "http://10.0.0.1"}}, "cluster.server"),
    "a server that is a file": ({"cluster": {"server": "file:///etc/passwd"}}, "cluster.server"),
    "a server without host": ({"cluster": {"server": "https://"}}, "cluster.server"),
    "a server with a user": ({"cluster": {"server": "https://u:p@10.0.0.1"}}, "cluster.server"),
    "a server with a query": ({"cluster": {"server": "https://10.0.0.1/?x=1"}}, "cluster.server"),
    "a server with a fragment": ({"cluster": {"server": "https://10.0.0.1/#x"}}, "cluster.server"),
    "a server with an odd port": ({"cluster": {"server": "https://10.0.0.1:99999"}}, "cluster.server"),
    "a server with a newline": ({"cluster": {"server": "https://10.0.0.1\n"}}, "cluster.server"),
    "no server": ({"cluster": {"server": ...}}, "cluster.server"),
    "no CA": ({"cluster": {"certificate-authority-data": ...}}, "certificate-authority-data is missing"),
    "an empty CA": ({"cluster": {"certificate-authority-data": ""}}, "certificate-authority-data is missing"),
    "a CA of spaces": ({"cluster": {"certificate-authority-data": b64("  ")}}, "no PEM certificate"),
    "a CA that is not ASCII": ({"cluster": {"certificate-authority-data": b64("é")}}, "no PEM certificate"),
    "a CA that is not base64": ({"cluster": {"certificate-authority-data": "***"}}, "certificate-authority-data"),
    "a CA that is a list": ({"cluster": {"certificate-authority-data": ["x"]}}, "certificate-authority-data"),
    "a CA that is garbage": ({"cluster": {"certificate-authority-data": b64("x" * 99)}}, "no PEM certificate"),
    "a CA that is a key": ({"cluster": {"certificate-authority-data": KEY}}, "no PEM certificate"),
    "no credentials": ({"user": {"token": ...}}, "neither token nor client-certificate-data"),
    "a token with a newline": ({"user": {"token": "a\nX-Injected: 1"}}, "user.token"),
    "a token with a control character": ({"user": {"token": "a\x01b"}}, "kubeconfig is not YAML|user.token"),
    "a token that is a map": ({"user": {"token": {"a": "b"}}}, "user.token"),
    "a certificate without key": ({"user": {"client-certificate-data": CERTIFICATE}}, "give both"),
    "a key without certificate": ({"user": {"client-key-data": KEY}}, "give both"),
    "a pair that is none": (
        {"user": {"client-certificate-data": CERTIFICATE, "client-key-data": b64(OTHER_PAIR.key)}},
        "is not the key of",
    ),
    "an encrypted key": (
        {"user": {"client-certificate-data": CERTIFICATE, "client-key-data": b64(encrypted(PAIR.key))}},
        "encrypted",
    ),
    "a garbage pair": ({"user": {"client-certificate-data": b64("x"), "client-key-data": b64("y")}}, "no PEM"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_the_field(case: str) -> None:
    parts, words = REFUSED[case]
    with pytest.raises(UntrustedKubeconfig, match=words):
        parse(kubeconfig(**parts))


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_has_a_cure_and_no_secret(case: str) -> None:
    with pytest.raises(UntrustedKubeconfig) as refused:
        parse(kubeconfig(**REFUSED[case][0]))
    message = str(refused.value)
    assert ";" in message, "which field, then what to do instead"
    assert not any(secret in message for secret in ("s3cret", "hunter2", KEY[:40], "owned", "X-Injected"))


@pytest.mark.parametrize("spoilt", ["contexts", "clusters", "users", "current-context"])
@pytest.mark.parametrize("value", [None, [], "text", 5, [{}], [None], [{"name": "x"}], {"name": "x"}])
def test_a_missing_part_is_refused(spoilt: str, value: Any) -> None:
    with pytest.raises(UntrustedKubeconfig):
        parse(yaml.safe_dump({**document(), spoilt: value}).encode())


def levels(count: int) -> str:
    """Nine aliases to the level before, as merges: each level takes nine times as long."""
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n}\n  <<: [{','.join([f'*a{n - 1}'] * 9)}]" for n in range(1, count)]
    return "\n".join(lines) + "\n"


GARBAGE: dict[str, bytes] = {
    "nothing": b"",
    "bytes": b"\xff\xfe\x00\xd8",
    "a zero byte": b"\x00",
    "text": b"hello",
    "a list": b"[1, 2]",
    "two documents": b"a: 1\n---\nb: 2\n",
    "a Python object": b"a: !!python/object/apply:os.system [id]",
    "a date that is none": b"a: 2001-99-99",
    "a tag without value": b"a: !!int ''",
    "a tag with a wrong value": b"a: !!bool x",
    "a custom tag": b"a: !x y",
    "a key that is a list": b"? [a]\n: b",
    "too large": b"#" * (MAX_BYTES + 1),
    "300 kB": b"a: " + b"x" * 300_000,
    "a deep nest": b"[" * 100_000,
    "a deep map": b"{a: " * 20_000,
    "an alias": b"a: &a 1\nb: *a\n",
    "merges that take minutes": levels(12).encode() + kubeconfig(),
    "copies that fill the memory": levels(12).replace("<<: [", "y: [").encode() + kubeconfig(),
    "an alias to itself": b"a: &a [*a]",
}


@pytest.mark.parametrize("case", GARBAGE)
def test_garbage_is_refused_at_once(case: str) -> None:
    started = time.process_time()
    with pytest.raises(UntrustedKubeconfig):
        parse(GARBAGE[case])
    assert time.process_time() - started < 1.0, "it holds the event loop meanwhile"


def test_the_largest_that_is_read_does_not_hold_the_loop_for_long() -> None:
    whole = document()
    whole["clusters"] += [{"name": f"c{n}", "cluster": {"server": f"https://h{n}"}} for n in range(4600)]
    content = yaml.dump(whole, Dumper=yaml.CSafeDumper).encode()
    assert MAX_BYTES * 0.8 < len(content) <= MAX_BYTES
    started = time.process_time()
    assert parse(content).token == "s3cret-token"
    assert time.process_time() - started < 2.0
