"""What dockerd changed is taken back, and nothing else."""

from localkube import machinestate

# `iptables-save` before and after a dockerd 20.10 with one network, shortened; "corp" is somebody else's
BEFORE = """*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -s 10.9.0.0/16 -j DROP
COMMIT
"""
AFTER = """*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:DOCKER - [0:0]
:DOCKER-USER - [0:0]
:corp - [0:0]
-A INPUT -s 10.9.0.0/16 -j DROP
-A INPUT -p tcp -m comment --comment "added meanwhile" -j corp
-A FORWARD -j DOCKER-USER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -o rs-abc123-0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-USER -j RETURN
COMMIT
"""


def test_docker_rules_go_before_the_chains_that_they_hold() -> None:
    commands = [" ".join(arguments) for arguments in machinestate.undo(BEFORE, AFTER)]
    assert commands == [
        "-t nat -D PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
        "-t nat -D POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
        "-t filter -D FORWARD -j DOCKER-USER",
        "-t filter -D FORWARD -i docker0 ! -o docker0 -j ACCEPT",
        "-t filter -D FORWARD -o rs-abc123-0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-t nat -F DOCKER",
        "-t filter -F DOCKER",
        "-t filter -F DOCKER-USER",
        "-t nat -X DOCKER",
        "-t filter -X DOCKER",
        "-t filter -X DOCKER-USER",
        "-t filter -P FORWARD ACCEPT",
    ]


def test_what_others_added_meanwhile_stays() -> None:
    assert not any("corp" in arguments for arguments in machinestate.undo(BEFORE, AFTER))


def test_chains_that_were_there_before_stay() -> None:
    assert machinestate.undo(AFTER, AFTER) == []


def test_a_policy_that_was_drop_before_stays_drop() -> None:
    before = BEFORE.replace(":FORWARD ACCEPT", ":FORWARD DROP")
    assert ["-t", "filter", "-P", "FORWARD", "ACCEPT"] not in machinestate.undo(before, AFTER)


def test_a_snapshot_survives_being_written_down() -> None:
    snapshot = machinestate.Snapshot({"net/ipv4/ip_forward": "0"}, {"iptables": BEFORE}, False, ("/sys/fs/cgroup/x",))
    assert machinestate.Snapshot.from_json(snapshot.to_json()) == snapshot


def test_every_limit_that_is_raised_is_also_put_back() -> None:
    assert set(machinestate.LEAST) <= set(machinestate.SETTINGS)
