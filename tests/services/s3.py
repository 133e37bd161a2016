"""Why: S3 without S3: SeaweedFS, whose conditional puts hold when clients race. One process, all on loopback."""

from __future__ import annotations

import http.client
import json
import signal
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote_plus, urlencode

from tests.services.base import Server, free_port

BUCKET: Final = "sloth-runner"
ADMIN: Final = "AKIASLOTHRUNNERADMIN"
"""An access key that may make buckets."""
ACCESS, SECRET = "AKIASLOTHRUNNERTEST0", "a secret of the tests' own server"
"""The tests' key: it may read, write and list in the one bucket, and nothing else."""
READER = "AKIASLOTHRUNNERREAD0"
"""An access key (with the same secret) that may only read and list."""
OPEN: Final = "open-to-all"
"""A bucket for which requests need no signature."""
_PORTS = ("master", "volume", "filer", "s3")


class Weed(Server):
    """A server that leaves sockets behind outside of its folder, when it is killed."""

    https_url = ""

    def _wait(self) -> None:
        super()._wait()
        for port in (arg.rpartition("=")[2] for arg in self._argv if ".port.grpc=" in arg):
            for name in ("master", "volume", "filer", "s3"):
                Path(f"/tmp/seaweedfs-{name}-grpc-{port}.sock").unlink(missing_ok=True)


def make(folder: Path, *, tls: bool = False) -> Weed:
    """A server whose ``url`` names one bucket, which exists; ``part`` of it is a test's own. With ``tls``, it also
    listens at ``https_url``, with a certificate of ``folder``/ca.pem."""
    ports = {name: free_port() for part in _PORTS for name in (f"{part}.port", f"{part}.port.grpc")}
    files = {"s3.config": folder / "identities.json", "login": folder / "credentials"}
    argv = [
        str(Path(sys.executable).with_name("weed")), "-logtostderr=true", "server",
        f"-dir={folder}/data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false",
        "-master.electionTimeout=1s",
        "-filer", "-filer.localSocket=filer.sock", "-s3", "-s3.localSocket=s3.sock", "-s3.iam=false",
        "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={files['s3.config']}",
        "-volume.max=64", "-master.volumeSizeLimitMB=64", "-volume.preStopSeconds=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    secure = free_port()
    if tls:
        certificate = [f"-s3.cert.file={folder}/cert.pem", f"-s3.key.file={folder}/key.pem"]
        argv += [f"-s3.port.https={secure}", *certificate]
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    asked = urlencode({"endpoint": endpoint, "credentials_file": files["login"]})

    def prepare() -> None:
        (folder / "data").mkdir(exist_ok=True)
        if tls:
            certify(folder)
        files["s3.config"].write_text(json.dumps({"identities": _identities()}))
        login = f"aws_secret_access_key = {SECRET}\n"
        files["login"].write_text(
            f"[default]\naws_access_key_id = {ACCESS}\n{login}[reader]\naws_access_key_id = {READER}\n{login}"
        )

    server = Weed(
        "s3",
        folder,
        argv,
        f"s3://{BUCKET}?{asked}",
        lambda: _ready(ports["s3.port"], endpoint),
        prepare=prepare,
        stop_signal=signal.SIGKILL,  # in order, it takes 12 seconds, to end streams between its own parts
    )
    server.https_url = server.url.replace(quote_plus(endpoint), quote_plus(f"https://127.0.0.1:{secure}"))
    return server


def certify(folder: Path) -> None:
    """Make an authority and a certificate for loopback."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")


def part(url: str, name: str, **more: str) -> str:
    """The store's URL for what a test has to itself: a prefix of the bucket, and further parameters."""
    place, _, asked = url.partition("?")
    return f"{place}/{name}?{asked}" + (f"&{urlencode(more)}" if more else "")


def _identities() -> list[dict[str, object]]:
    return [
        {
            "name": "admin",
            "credentials": [{"accessKey": ADMIN, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List"],
        },
        {
            "name": "sloth-runner",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": [f"{action}:{BUCKET}" for action in ("Read", "Write", "List")],
        },
        {
            "name": "reader",
            "credentials": [{"accessKey": READER, "secretKey": SECRET}],
            "actions": ["Read", "List"],
        },
        {"name": "anonymous", "actions": [f"{action}:{OPEN}" for action in ("Read", "Write", "List")]},
    ]


def _ready(port: int, endpoint: str) -> bool:
    """Whether it answers, and takes objects: the first one makes the bucket."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    try:
        link.request("GET", "/")
        if link.getresponse().status >= 500:
            return False
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()
    import obstore
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    try:
        for bucket in (BUCKET, OPEN):
            store = S3Store(
                bucket,
                config={
                    "access_key_id": ADMIN,
                    "secret_access_key": SECRET,
                    "region": "us-east-1",
                    "endpoint": endpoint,
                },
                client_options={"allow_http": True, "timeout": "5s"},
                retry_config={"max_retries": 0},
            )
            obstore.put(store, "ready", b"", use_multipart=False)
    except BaseError:
        return False
    return True
