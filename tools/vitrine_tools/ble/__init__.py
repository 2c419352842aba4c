"""Bluetooth on the host: the phone's link over bleak, and a BlueZ stand-in by which bleak reaches the virtual radio."""
