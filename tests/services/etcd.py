"""Why: etcd from Debian's etcd-server, alone or as a cluster whose nodes can be hurt one by one."""

from __future__ import annotations

import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.services.base import PATIENCE, Server, free_port
from tests.services.proxy import Proxy, every

BINARY = "etcd"


def make(folder: Path) -> Server:
    """One node on its own."""
    return make_node(folder)


def make_node(folder: Path, *arguments: str, port: int | None = None) -> Server:
    """One node on its own, with more of etcd's own arguments."""
    return _node("a", folder, {"a": free_port()}, port or free_port(), arguments)


def make_secure(folder: Path, keys: Path, *arguments: str) -> Server:
    """One node that speaks TLS to its clients; ``keys`` has the certificates with which its health is looked at."""
    port = free_port()
    context = ssl.create_default_context(cafile=keys / "ca.pem")
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python does from 3.13 on
    context.load_cert_chain(keys / "client.pem", keys / "client-key.pem")
    return _node("a", folder, {"a": free_port()}, port, arguments, context=context)


class Cluster:
    """Nodes of one cluster; ``url`` names all of them. Each is a Server: kill, stop or SIGSTOP it, start it again.
    With ``proxies`` between the nodes, a node can be cut off from the others while clients still reach it."""

    def __init__(self, nodes: Sequence[Server], proxies: Sequence[Proxy] = ()) -> None:
        self.nodes = list(nodes)
        self.url = "etcd://" + ",".join(node.url.removeprefix("etcd://") for node in nodes)
        self._proxies = list(proxies)

    def start(self) -> None:
        """Start all; they answer only together. None is left of those that do not."""
        try:
            with ThreadPoolExecutor(len(self.nodes)) as pool:
                list(pool.map(Server.start, self.nodes))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop what runs, also what was held by SIGSTOP."""
        for node in self.nodes:
            if node.pid is not None:
                node.kill()
        for proxy in self._proxies:
            proxy.close()

    def leader(self) -> Server:
        """The node that leads now, by its own word. Waits for an election."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            for node in self.nodes:
                if (found := status(node)) is not None and found[0] == found[1]:
                    return node
            time.sleep(0.05)
        raise RuntimeError("no node leads")

    def cut_off(self, node: Server) -> None:
        """Let nothing through between this node and the others, either way, until ``mend``."""
        assert self._proxies, "make_cluster(…, partitions=True)"
        found = status(node)
        assert found is not None
        sender = f"X-Server-From: {found[0]:x}\r\n".encode()
        for other, proxy in zip(self.nodes, self._proxies, strict=True):
            proxy.hold(every if other is node else lambda first: sender in first)

    def mend(self) -> None:
        """Let everything through again."""
        for proxy in self._proxies:
            proxy.mend()


def make_cluster(folder: Path, count: int = 3, *, partitions: bool = False) -> Cluster:
    """A cluster of ``count`` nodes, not started yet."""
    names = [chr(ord("a") + number) for number in range(count)]
    ports = {name: free_port() for name in names}
    proxies = [Proxy(ports[name]) for name in names] if partitions else []
    told = {name: proxy.port for name, proxy in zip(names, proxies, strict=True)} if proxies else ports
    nodes = [_node(name, folder / name, told, free_port(), (), listens=ports[name]) for name in names]
    return Cluster(nodes, proxies)


def status(node: Server) -> tuple[int, int] | None:
    """A node's own id and its leader's (0: it knows of none); None: it does not answer."""
    port = node.url.rpartition(":")[2]
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/maintenance/status", b"{}")
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            row = json.load(reply)
    except OSError:
        return None
    return int(row["header"]["member_id"]), int(row.get("leader", 0))


def health(port: int, context: ssl.SSLContext | None = None) -> bool:
    """Whether the node on this port of loopback can serve, which takes a majority."""
    scheme = "https" if context else "http"
    try:
        with urllib.request.urlopen(
            f"{scheme}://127.0.0.1:{port}/health", timeout=2, context=context
        ) as reply:
            return b'"true"' in reply.read()
    except (urllib.error.URLError, OSError):
        return False


def _node(
    name: str,
    folder: Path,
    peers: Mapping[str, int],
    port: int,
    more: Sequence[str],
    *,
    listens: int | None = None,
    context: ssl.SSLContext | None = None,
) -> Server:
    client = f"{'https' if context else 'http'}://127.0.0.1:{port}"
    peer = f"http://127.0.0.1:{peers[name]}"
    argv = [
        BINARY, "--name", name, "--data-dir", str(folder / "data"), "--log-level", "warn", "--logger", "zap",
        "--listen-client-urls", client, "--advertise-client-urls", client,
        "--listen-peer-urls", f"http://127.0.0.1:{listens or peers[name]}", "--initial-advertise-peer-urls", peer,
        "--initial-cluster", ",".join(f"{key}=http://127.0.0.1:{value}" for key, value in peers.items()), *more,
    ]  # fmt: skip
    return Server("etcd", folder, argv, f"etcd://127.0.0.1:{port}", lambda: health(port, context))
