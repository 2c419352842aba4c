"""What goes over the wires, for machines: JSON Schema of every payload, AsyncAPI of MQTT and GATT.

Made from the tables that the tools themselves use. CBOR is described in the form that `project` gives it.
"""
