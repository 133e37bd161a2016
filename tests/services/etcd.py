"""Why: etcd from Debian's etcd-server, alone or as a cluster whose nodes can be hurt one by one."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services.base import Server, free_port

BINARY = "etcd"


def make(folder: Path) -> Server:
    """One node on its own."""
    return make_node(folder)


def make_node(folder: Path, *arguments: str) -> Server:
    """One node on its own, with more of etcd's own arguments."""
    return _node("a", folder, {"a": free_port()}, free_port(), arguments)


class Cluster:
    """Nodes of one cluster; ``url`` names all of them. Each is a Server: kill, stop or SIGSTOP it, start it again."""

    def __init__(self, nodes: Sequence[Server]) -> None:
        self.nodes = list(nodes)
        self.url = "etcd://" + ",".join(node.url.removeprefix("etcd://") for node in nodes)

    def start(self) -> None:
        """Start all; they answer only together."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Server.start, self.nodes))

    def stop(self) -> None:
        """Stop what runs, also what was held by SIGSTOP."""
        for node in self.nodes:
            if node.pid is not None:
                node.kill()


def make_cluster(folder: Path, count: int = 3) -> Cluster:
    """A cluster of ``count`` nodes, not started yet."""
    names = [chr(ord("a") + number) for number in range(count)]
    peers = {name: free_port() for name in names}
    return Cluster([_node(name, folder / name, peers, free_port(), ()) for name in names])


def health(port: int) -> bool:
    """Whether the node on this port of loopback can serve, which takes a majority."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as reply:
            return b'"true"' in reply.read()
    except (urllib.error.URLError, OSError):
        return False


def _node(name: str, folder: Path, peers: Mapping[str, int], port: int, more: Sequence[str]) -> Server:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peers[name]}"
    argv = [
        BINARY, "--name", name, "--data-dir", str(folder / "data"), "--log-level", "warn", "--logger", "zap",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
        "--initial-cluster", ",".join(f"{key}=http://127.0.0.1:{value}" for key, value in peers.items()), *more,
    ]  # fmt: skip
    return Server("etcd", folder, argv, f"etcd://127.0.0.1:{port}", lambda: health(port))
