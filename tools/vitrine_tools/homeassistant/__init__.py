"""Locks in Home Assistant by its MQTT discovery (SPEC.md section 17): what it shows comes from the locks themselves."""
