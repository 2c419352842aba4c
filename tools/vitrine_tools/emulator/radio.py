"""The virtual radio: Bumble's LocalLink with the manners of the air, shared by any number of locks and phones.

What LocalLink leaves out is added here: an advertisement reaches only those who listen; a scan response is its own
packet; only one of two phones that answer the same advertisement gets the connection; a lost peer is a supervision
time-out. A lock in virtual time advertises as soon as somebody begins to listen, so that BLE takes no virtual time.
"""

import asyncio
import dataclasses
import itertools
import random
from collections.abc import Callable

from bumble import hci, ll
from bumble.controller import Controller, LegacyAdvertiser
from bumble.device import Device, DeviceConfiguration
from bumble.hci import Address
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink

ADV_DELAY_MS = 10  # the random part of each advertising interval (Bluetooth Core, vol 6, part B, 4.4.2.2)
HCI_UNIT_US = 625
SUPERVISION_TIMEOUT = 0x08


@dataclasses.dataclass
class Advertisement(ll.AdvInd):
    """A connectable or scannable advertisement with its scan response."""

    scan_response: bytes = b""
    is_connectable: bool = True


class VirtualRadio(LocalLink):
    """The air. Make one per test; close() ends what is on it."""

    def __init__(self) -> None:
        super().__init__()
        self.activity = 0  # counts packets, on the air and between hosts and radios: tells whether all is quiet
        self._numbers = itertools.count(1)

    def next_address(self) -> Address:
        """A fresh static random address for a phone."""
        number = next(self._numbers)
        return Address(f"F0:F1:F2:F3:{number >> 8:02X}:{number & 0xFF:02X}")

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        loop = asyncio.get_running_loop()
        for controller in self.controllers:
            if controller is not sender_controller and (controller.le_scan_enable or controller.pending_le_connection):
                self.activity += 1
                loop.call_soon(controller.on_ll_advertising_pdu, packet)

    def send_acl_data(self, sender_controller, destination_address, transport, data) -> None:
        connection = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if connection is not None and receiver is not None:
            self.activity += 1
            asyncio.get_running_loop().call_soon(receiver.on_link_acl_data, connection.self_address, transport, data)

    def send_ll_control_pdu(self, sender_address, receiver_address, packet) -> None:
        self.activity += 1
        if self.find_le_controller(receiver_address) is not None:
            super().send_ll_control_pdu(sender_address, receiver_address, packet)

    def advertiser(self, address: Address) -> "LockAdvertiser | None":
        """Who advertises connectably under this address right now."""
        for controller in self.controllers:
            advertiser = controller.le_legacy_advertiser
            if isinstance(advertiser, LockAdvertiser) and advertiser.is_open_to(address):
                return advertiser
        return None

    def prompt(self) -> None:
        """Somebody begins to listen, or to advertise."""
        for controller in list(self.controllers):
            advertiser = controller.le_legacy_advertiser
            if isinstance(advertiser, LockAdvertiser) and advertiser.is_virtual:
                advertiser.send_advertising_data()


class LockAdvertiser(LegacyAdvertiser):
    """Advertises under the public address, at the interval asked for plus the standard's random delay.

    In virtual time it also advertises when somebody begins to listen. Bumble's own hosts may start it through HCI.
    """

    is_virtual = False
    is_connectable = True

    def begin(self, interval_us: int, data: bytes, scan_response: bytes, is_connectable: bool) -> None:
        self.stop()
        self.own_address_type = Address.PUBLIC_DEVICE_ADDRESS
        self.advertising_interval_min = interval_us // HCI_UNIT_US
        self.advertising_data = data
        self.scan_response_data = scan_response
        self.is_connectable = is_connectable
        self.start()

    def is_open_to(self, address: Address) -> bool:
        return self.enabled and self.is_connectable and self.address == address

    def _on_timer_fired(self) -> None:
        self.send_advertising_data()
        delay_s = self.advertising_interval_min * HCI_UNIT_US / 1e6 + random.uniform(0, ADV_DELAY_MS / 1000)
        self.timer_handle = asyncio.get_running_loop().call_later(delay_s, self._on_timer_fired)

    def send_advertising_data(self) -> None:
        if self.enabled:
            self.controller.send_advertising_pdu(
                Advertisement(self.address, self.advertising_data, self.scan_response_data, self.is_connectable)
            )


class RadioController(Controller):
    """One radio on the air: a lock's or a phone's."""

    link: VirtualRadio

    def __init__(self, name: str, radio: VirtualRadio, public_address: Address | None = None) -> None:
        super().__init__(name, link=radio, public_address=public_address)
        self.advertiser = self.le_legacy_advertiser = LockAdvertiser(self)
        self.le_features &= ~hci.LeFeatureMask.LE_EXTENDED_ADVERTISING

    def on_packet(self, packet: bytes) -> None:
        self.link.activity += 1
        super().on_packet(packet)

    def send_hci_packet(self, packet: hci.HCI_Packet) -> None:
        self.link.activity += 1
        super().send_hci_packet(packet)

    def on_advertising_pdu(self, pdu: ll.AdvInd | ll.AdvExtInd) -> None:
        if not isinstance(pdu, Advertisement):
            return
        if self.le_scan_enable:
            kinds = hci.HCI_LE_Advertising_Report_Event.EventType
            kind = kinds.ADV_IND if pdu.is_connectable else kinds.ADV_SCAN_IND
            self._report(pdu, kind, pdu.data)
            if self.le_scan_type == 1:
                self._report(pdu, kinds.SCAN_RSP, pdu.scan_response)
        pending = self.pending_le_connection
        if pending is not None and pending.peer_address == pdu.advertiser_address:
            advertiser = self.link.advertiser(pdu.advertiser_address)
            if advertiser is not None and advertiser.controller is not self:
                self.create_le_connection(pdu.advertiser_address)

    def _report(self, pdu: Advertisement, kind: int, data: bytes) -> None:
        report = hci.HCI_LE_Advertising_Report_Event.Report(
            event_type=kind,
            address_type=pdu.advertiser_address.address_type,
            address=pdu.advertiser_address,
            data=data,
            rssi=-50,
        )
        self.send_hci_packet(hci.HCI_LE_Advertising_Report_Event([report]))

    def send_advertising_pdu(self, packet: ll.AdvertisingPdu) -> None:
        if isinstance(packet, ll.ConnectInd):
            # The first to answer an advertisement takes it, in the same instant.
            advertiser = self.link.advertiser(packet.advertiser_address)
            if advertiser is not None:
                advertiser.controller.on_le_connect_ind(packet)
            return
        super().send_advertising_pdu(packet)

    def on_hci_le_set_scan_enable_command(self, command):
        result = super().on_hci_le_set_scan_enable_command(command)
        if self.le_scan_enable:
            self.link.prompt()
        return result

    def on_hci_le_create_connection_command(self, command) -> None:
        super().on_hci_le_create_connection_command(command)
        self.link.prompt()

    def on_hci_le_create_connection_cancel_command(self, _command):
        result = super().on_hci_le_create_connection_cancel_command(_command)
        pending, self.pending_le_connection = self.pending_le_connection, None
        if pending is not None:
            self.send_hci_packet(
                hci.HCI_LE_Connection_Complete_Event(
                    status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
                    connection_handle=0,
                    role=hci.Role.CENTRAL,
                    peer_address_type=pending.peer_address.address_type,
                    peer_address=pending.peer_address,
                    connection_interval=0,
                    peripheral_latency=0,
                    supervision_timeout=0,
                    central_clock_accuracy=0,
                )
            )
        return result

    def lose(self, peer_address: Address, tell_self: bool = True) -> None:
        """The peer is out of reach: both ends see the supervision time-out."""
        connection = self.le_connections.get(peer_address)
        if connection is None:
            return
        connection.send_ll_control_pdu(ll.TerminateInd(SUPERVISION_TIMEOUT))
        if tell_self:
            self.on_le_disconnected(connection, SUPERVISION_TIMEOUT)

    def vanish(self) -> None:
        """The power is gone: no more packets, and every peer sees the supervision time-out."""
        self.le_legacy_advertiser.stop()
        self.pending_le_connection = None
        for address in list(self.le_connections):
            self.lose(address, tell_self=False)
        asyncio.get_running_loop().call_soon(self._leave)

    def _leave(self) -> None:
        if self in self.link.controllers:
            self.link.remove_controller(self)


async def make_device(
    name: str, controller: RadioController, address: Address, make: Callable[..., Device] = Device
) -> Device:
    """A Bumble host on this controller, powered on."""
    config = DeviceConfiguration(name=name, address=address, keystore=None)
    device = make(config=config, host=Host(controller, AsyncPipeSink(controller)))
    await device.power_on()
    return device
