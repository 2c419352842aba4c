"""The ways out of the lock that it was told of, made and started: broker, time server, Wi-Fi, HTTP.

The second half of main.py. What a lock was not told of is not even loaded: it has the memory for other things.
"""

from vitrine.app.supervisor import RESTART


def add_broker(supervisor, blob, identity, events, dispatch, scenario, hint) -> None:
    """Add the tasks of the broker that the blob `mqtt` names, if there is one, and a journal to send.

    None while unprovisioned: a lock that is half made has both already.
    """
    outbox = dispatch.evidence.outbox
    settings = blob("mqtt").load() if outbox and identity.provision else None
    if settings is None:
        return
    from vitrine.app.sync import Sync

    from .mqtt_settings import open_link
    from .sntp import Sntp

    link = open_link(settings, identity.lock_id, events, identity.provision.groups)
    if link is None:
        return
    clock, random_bytes = dispatch.clock, dispatch.random_bytes
    commands, freshness = dispatch.commands, dispatch.freshness
    sync = Sync(outbox, link, events, dispatch.lock, clock, random_bytes, commands, freshness, scenario)
    sync.updates = dispatch.updates
    dispatch.parts["sync"] = sync
    events.add_sink(sync.wake)
    supervisor.add("sync", lambda vote: sync.run(vote, dispatch.is_busy), RESTART)
    supervisor.add("sntp", Sntp(clock, random_bytes, hint).run, RESTART)


def add_network(supervisor, blob, identity, events, dispatch, serve_on) -> None:
    """Add the tasks of the local network that the blob `network` names, if there is one."""
    settings = blob("network").load()
    if settings is None:
        return
    from .network_settings import take

    network = take(settings, events)
    if network is None:
        return
    from .wifi import WifiLink

    clock, random_bytes = dispatch.clock, dispatch.random_bytes
    wifi = WifiLink(network, identity.lock_id, events, clock, random_bytes, dispatch.is_busy)
    dispatch.parts["wifi"] = wifi
    supervisor.add("wifi", wifi.run, RESTART)
    if network.http_port:
        from .http import HttpLink

        supervisor.add("http", HttpLink(dispatch, events, network, serve_on).run, RESTART)
