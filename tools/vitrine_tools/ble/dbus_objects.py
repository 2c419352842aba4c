"""A tree of D-Bus objects with properties, and the signals by which clients follow it.

Covers org.freedesktop.DBus.ObjectManager and .Properties (D-Bus Specification, "Standard Interfaces"), and knows no
Bluetooth.
"""

from collections.abc import Callable
from typing import Any

from dbus_fast import Message, MessageType, Variant

OBJECT_MANAGER = "org.freedesktop.DBus.ObjectManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
_SIGNATURES = {"GetAll": "s", "Get": "ss", "Set": "ssv"}

Interfaces = dict[str, dict[str, Variant]]


class DBusFailure(Exception):
    """A method's error reply: its D-Bus name and text."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


def need_signature(call: Message, signature: str) -> None:
    """Raise DBusFailure unless the call's arguments have these types; what is read from its body is then there."""
    if call.signature != signature:
        raise DBusFailure("org.freedesktop.DBus.Error.InvalidArgs", f"the arguments must be {signature!r}")


class ObjectTree:
    """The objects of one service. `send` puts a signal on the bus."""

    def __init__(self, send: Callable[[Message], Any]) -> None:
        self._send = send
        self._objects: dict[str, Interfaces] = {}

    def __contains__(self, path: str) -> bool:
        return path in self._objects

    def add(self, path: str, interfaces: Interfaces) -> None:
        """Add an object and announce it."""
        self._objects[path] = interfaces
        self._signal("/", OBJECT_MANAGER, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def remove(self, path: str) -> None:
        """Take an object away, with those below it."""
        below = [other for other in self._objects if other == path or other.startswith(path + "/")]
        for gone in sorted(below, reverse=True):
            interfaces = self._objects.pop(gone)
            self._signal("/", OBJECT_MANAGER, "InterfacesRemoved", "oas", [gone, list(interfaces)])

    def below(self, path: str) -> list[str]:
        """Return the paths directly or indirectly below `path`."""
        return [other for other in self._objects if other.startswith(path + "/")]

    def set(self, path: str, interface: str, **changed: Variant) -> None:
        """Set properties and announce them."""
        self._objects[path][interface].update(changed)
        self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, []])

    def unset(self, path: str, interface: str, name: str) -> None:
        """Take a property away and say so."""
        if self._objects[path][interface].pop(name, None) is not None:
            self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, {}, [name]])

    def get(self, path: str, interface: str) -> dict[str, Variant]:
        """Return an interface's properties; DBusFailure if there is no such object or interface."""
        if path not in self._objects:
            raise DBusFailure("org.freedesktop.DBus.Error.UnknownObject", f"no object {path}")
        if interface not in self._objects[path]:
            raise DBusFailure("org.freedesktop.DBus.Error.UnknownInterface", f"no interface {interface} at {path}")
        return self._objects[path][interface]

    def answer(self, call: Message) -> Message | None:
        """Answer a call of the two standard interfaces; None if it is of another one."""
        body = call.body
        if call.interface == PROPERTIES:
            need_signature(call, _SIGNATURES.get(call.member or "", ""))
        match call.interface, call.member:
            case "org.freedesktop.DBus.ObjectManager", "GetManagedObjects":
                return Message.new_method_return(call, "a{oa{sa{sv}}}", [self._objects])
            case "org.freedesktop.DBus.Properties", "GetAll":
                return Message.new_method_return(call, "a{sv}", [self.get(call.path or "", body[0])])
            case "org.freedesktop.DBus.Properties", "Get":
                properties = self.get(call.path or "", body[0])
                if body[1] not in properties:
                    raise DBusFailure("org.freedesktop.DBus.Error.UnknownProperty", f"no property {body[1]}")
                return Message.new_method_return(call, "v", [properties[body[1]]])
            case "org.freedesktop.DBus.Properties", "Set":
                raise DBusFailure("org.freedesktop.DBus.Error.PropertyReadOnly", f"{body[1]} cannot be set")
            case _:
                return None

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        self._send(
            Message(
                message_type=MessageType.SIGNAL,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body,
            )
        )
