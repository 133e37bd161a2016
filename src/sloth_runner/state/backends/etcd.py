"""Why: state in etcd (3.4 or later): linearizable, replicated by a majority, leases by the cluster's own clock.

    [state] store = "etcd://h1:2379,h2:2379,h3:2379/prefix?ca=/etc/ssl/etcd-ca.pem"

The store itself is ``etcd_store``; it needs gRPC, which is loaded when a store is opened.
"""

from __future__ import annotations

from sloth_runner.plain import TYPE_CHECKING
from sloth_runner.state.backends import needs

if TYPE_CHECKING:
    from sloth_runner.state.backends import Options
    from sloth_runner.state.backends.etcd_store import EtcdStore


def open_store(url: str, options: Options) -> EtcdStore:
    """A handle on the cluster that ``url`` names; nothing is asked of it yet. Raises BadConfig."""
    from sloth_runner.state.backends.etcd_url import settings_from

    settings = settings_from(url, options)
    try:
        from sloth_runner.state.backends.etcd_grpc import load

        rpc = load(options.environ)
        from sloth_runner.state.backends.etcd_store import EtcdStore
    except ImportError as error:
        raise needs("etcd", error) from None
    return EtcdStore(settings, options.timeout, rpc, options.shared)
